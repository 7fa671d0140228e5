"""A cluster's REST API, asked by code that has no event loop, as the admin whose certificate lies among the cluster's files."""

from __future__ import annotations

import http.client
import ssl
import urllib.parse
from typing import Any

import orjson

from services.standalone.files import Files

TIMEOUT_SECONDS = 30.0
# By which what the plugin asks is told from what a test does: faults do not befall it.
AGENT = "knarr-pytest"


class Refused(Exception):
    """The API server's answer was an error; ``code`` is that of HTTP."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class NotFound(Refused):
    """There is no such object."""


class Conflict(Refused):
    """The object's state does not allow it."""


KINDS = {404: NotFound, 409: Conflict}


class Access:
    """One question at a time, each on a connection of its own."""

    def __init__(self, files: Files) -> None:
        config = orjson.loads(files.kubeconfig.read_bytes())
        self._server = urllib.parse.urlsplit(config["clusters"][0]["cluster"]["server"]).netloc
        self._context = ssl.create_default_context(cafile=str(files.pki / "ca.crt"))
        self._context.load_cert_chain(files.pki / "admin.crt", files.pki / "admin.key")

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer's JSON. Raises Refused, or what is below it, and OSError."""
        connection = http.client.HTTPSConnection(self._server, context=self._context, timeout=TIMEOUT_SECONDS)
        try:
            sent = orjson.dumps(body) if body is not None else None
            connection.request(method, path, sent, {"User-Agent": AGENT, "Content-Type": "application/json"})
            answer = connection.getresponse()
            found: dict[str, Any] = orjson.loads(answer.read())
        finally:
            connection.close()
        if answer.status >= 400:
            raise KINDS.get(answer.status, Refused)(answer.status, str(found.get("message")))
        return found
