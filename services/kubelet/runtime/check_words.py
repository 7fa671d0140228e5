"""What probes say of addresses, and of what kept them from being answered, as Go's network code says it. Pure."""

from __future__ import annotations

import os
import socket
import ssl

# Of whoever speaks no TLS, OpenSSL says that it speaks another version of it.
NO_TLS = "WRONG_VERSION_NUMBER"


def address(host: str, port: int) -> str:
    """An address of IPv6 stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def dialled(host: str, port: int, error: OSError) -> str:
    """Why there is no connection."""
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {host}: no such host"
    if isinstance(error, ssl.SSLError):
        if error.reason == NO_TLS:
            return "tls: first record does not look like a TLS handshake"
        return f"tls: {error.reason.lower().replace('_', ' ') if error.reason else error.strerror}"
    return f"dial tcp {address(host, port)}: connect: {system_words(error)}"


def system_words(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
