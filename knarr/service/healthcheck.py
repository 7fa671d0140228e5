"""``python -m knarr.service.healthcheck HOST:PORT --trust DIR``: does a component serve?

Exit code 0 when it says SERVING, 1 with one line of reason otherwise; for whoever watches processes.

It is started every few seconds for every component of a cluster, so it speaks the little HTTP/2 that one call of gRPC's health
service needs by itself: to import a gRPC library would take three times the processor time of all the rest.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Kinds of frames and their flags (RFC 9113).
DATA, HEADERS, SETTINGS, GOAWAY = 0x0, 0x1, 0x4, 0x7
END_STREAM, END_HEADERS = 0x1, 0x4
FRAME_HEAD_BYTES, MESSAGE_HEAD_BYTES = 9, 5
STREAM = 1
# grpc.health.v1.HealthCheckResponse.ServingStatus by its number.
STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
STATUS_FIELD = b"\x08"


class NoAnswer(Exception):
    """The component did not say how it is; the text says why."""


def check(target: str, ca: Path, timeout_seconds: float, shown: tuple[Path, Path] | None = None) -> str:
    """What the component at HOST:PORT says of itself: ``SERVING``, ``NOT_SERVING``. ``shown``: certificate and key, for one that asks for
    them. Raises NoAnswer."""
    host, _, port = target.rpartition(":")
    try:
        trust = ssl.create_default_context(cafile=str(ca))
        trust.set_alpn_protocols(["h2"])
        if shown is not None:
            trust.load_cert_chain(*shown)
        with (
            socket.create_connection((host, int(port)), timeout_seconds) as plain,
            trust.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.sendall(
                PREFACE + _frame(SETTINGS) + _frame(HEADERS, END_HEADERS, _headers(target)) + _frame(DATA, END_STREAM, bytes(5))
            )
            return _status(connection)
    except OSError as error:
        raise NoAnswer(str(error)) from error


def _headers(authority: str) -> bytes:
    """The call's, each a literal that nobody need remember (RFC 7541, 6.2.2)."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(b"\0" + b"".join(bytes([len(word)]) + word.encode() for word in field) for field in fields.items())


def _frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    stream = 0 if kind == SETTINGS else STREAM
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _frames(connection: ssl.SSLSocket) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and payload of what comes, until the other end closes."""
    with connection.makefile("rb") as source:
        while len(head := source.read(FRAME_HEAD_BYTES)) == FRAME_HEAD_BYTES:
            yield head[3], head[4], source.read(int.from_bytes(head[:3], "big"))


def _status(connection: ssl.SSLSocket) -> str:
    message = b""
    for kind, flags, payload in _frames(connection):
        if kind == DATA:
            message += payload
        whole = len(message) >= MESSAGE_HEAD_BYTES and len(message) >= MESSAGE_HEAD_BYTES + int.from_bytes(
            message[1:MESSAGE_HEAD_BYTES], "big"
        )
        if whole:
            content = message[MESSAGE_HEAD_BYTES:]
            # Zero is not written.
            number = content[1] if content.startswith(STATUS_FIELD) else 0
            return STATUSES[number] if number < len(STATUSES) else str(number)
        if kind == GOAWAY or (kind == HEADERS and flags & END_STREAM):
            break
    raise NoAnswer("the call was refused")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m knarr.service.healthcheck", description="Ask a component for its health.")
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--trust", type=Path, metavar="DIR", help="a component's folder: ca.crt, and server.crt and server.key to show")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="certificate of the cluster's CA, PEM")
    parser.add_argument("--timeout", type=float, default=3.0, metavar="SECONDS", help="(default: %(default)s)")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="certificate to show, for a component that asks for one, PEM")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its private key, PEM")
    arguments = parser.parse_args()
    if (folder := arguments.trust) is not None:
        arguments.ca, arguments.cert, arguments.key = folder / "ca.crt", folder / "server.crt", folder / "server.key"
    if arguments.ca is None:
        parser.error("give --trust or --ca")
    if (arguments.cert is None) != (arguments.key is None):
        parser.error("--cert and --key belong together")
    if not arguments.address.rpartition(":")[2].isdecimal():
        parser.error(f"{arguments.address!r} is not host:port, like 127.0.0.1:6444")
    try:
        shown = (arguments.cert, arguments.key) if arguments.cert is not None else None
        said = check(arguments.address, arguments.ca, arguments.timeout, shown)
    except NoAnswer as error:
        said = f"UNAVAILABLE: {error}"
    print(f"{arguments.address} {said}", file=sys.stderr if said != "SERVING" else sys.stdout)
    return 0 if said == "SERVING" else 1


if __name__ == "__main__":
    raise SystemExit(main())
