"""A server that a kubeconfig names, for whoever is to ask it: where it is, whom to trust there, and how to show oneself.

Of a kubeconfig that was read; see ``kubeconfig.py``. The current context counts. What a client could do besides (commands for credentials,
impersonation, other proxies) is refused by its name.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from knarr.service.tls import show

CLUSTER_FIELDS = {
    "server",
    "certificate-authority",
    "certificate-authority-data",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "extensions",
}
USER_FIELDS = {"client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile", "extensions"}


@dataclass(frozen=True, slots=True)
class Remote:
    """``context`` has trust and certificate; None for plain HTTP. ``server_name``: whom its certificate must name, if not the host.
    ``namespace`` is what is meant where none is named."""

    url: str
    context: ssl.SSLContext | None
    headers: dict[str, str]
    server_name: str = ""
    namespace: str = "default"


def remote_of(found: Mapping[str, Any], folder: Path, *, as_nobody: bool = False) -> Remote:
    """What a kubeconfig says that lies in ``folder``, ``as_nobody`` without what would be shown of oneself. Raises ValueError."""
    try:
        return _remote(found, folder, as_nobody)
    except OSError as error:
        # Of a file that it names.
        raise ValueError(str(error)) from error


def _remote(found: Mapping[str, Any], folder: Path, as_nobody: bool) -> Remote:
    context = _named(found, "contexts", "context", str(found.get("current-context", "")))
    cluster = _named(found, "clusters", "cluster", str(context.get("cluster", "")))
    user = _named(found, "users", "user", str(context["user"])) if context.get("user") and not as_nobody else {}
    for section, known, what in ((cluster, CLUSTER_FIELDS, "cluster"), (user, USER_FIELDS, "user")):
        if strange := sorted(section.keys() - known):
            raise ValueError(f"{strange[0]} of the {what} is not honoured")
    url = str(cluster.get("server", ""))
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"server {url!r} is no URL of HTTP")
    headers = {}
    token = str(user.get("token", "")) or (_read(folder, str(user["tokenFile"])).decode().strip() if user.get("tokenFile") else "")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    tls = _context(cluster, user, folder) if parts.scheme == "https" else None
    return Remote(url, tls, headers, str(cluster.get("tls-server-name", "")), str(context.get("namespace") or "default"))


def _named(found: Mapping[str, Any], plural: str, singular: str, name: str) -> dict[str, Any]:
    entries = found.get(plural)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(singular), dict):
            return dict(entry[singular])
    raise ValueError(f"there is no {singular} {name!r}")


def _context(cluster: dict[str, Any], user: dict[str, Any], folder: Path) -> ssl.SSLContext:
    authority = _pem(cluster, "certificate-authority", folder)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify") is True:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
    if bool(certificate) != bool(key):
        raise ValueError("client-certificate and client-key belong together")
    if certificate:
        show(context, certificate, key)
    return context


def _pem(section: dict[str, Any], name: str, folder: Path) -> bytes:
    """What lies in a file, or stands there itself; empty without."""
    if said := section.get(f"{name}-data"):
        try:
            return base64.b64decode(str(said), validate=True)
        except binascii.Error:
            raise ValueError(f"{name}-data is no base64") from None
    return _read(folder, str(section[name])) if section.get(name) else b""


def _read(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()
