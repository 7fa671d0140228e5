"""The API of a cluster as a command asks it: by a kubeconfig, one request after the other."""

from __future__ import annotations

import base64
import binascii
import http.client
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import orjson
import yaml

from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, write_whole

ANSWER_SECONDS = 30.0
# Objects of one page of a list.
PAGE = 500
# What one answer may have.
MOST_BYTES = 256 * 1024 * 1024


class Refused(Exception):
    """What the API server has against a request; ``code`` is HTTP's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApiClient:
    """Raises CommandError where the server cannot be reached, Refused where it says no. A context manager."""

    def __init__(self, kubeconfig: Path, server: str = "") -> None:
        """``server`` is another URL than the kubeconfig's: one of several API servers."""
        self._stack = ExitStack()
        try:
            cluster, user = _chosen(kubeconfig)
            self.server = server or str(cluster["server"])
            self._context = self._trust(cluster, user)
            # Of who names nobody.
            self._bare = self._trust(cluster, {})
        except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError, binascii.Error, ssl.SSLError) as error:
            raise CommandError(f"{kubeconfig} is no kubeconfig of a cluster: {error}") from error
        self._token = str(user.get("token", ""))
        self._host = urlsplit(self.server)
        if self._host.scheme != "https" or not self._host.hostname:
            raise CommandError(f"{self.server} is no https:// URL of an API server")
        self._connections: dict[bool, http.client.HTTPSConnection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()
        self._stack.close()

    def _trust(self, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
        data = cluster.get("certificate-authority-data")
        context = ssl.create_default_context(
            cafile=cluster.get("certificate-authority"), cadata=base64.b64decode(data).decode() if data else None
        )
        if "client-certificate-data" in user:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="knarr-")))
            for name in ("client-certificate", "client-key"):
                write_whole(folder / name, base64.b64decode(user[f"{name}-data"]), mode=PRIVATE)
            context.load_cert_chain(folder / "client-certificate", folder / "client-key")
        elif "client-certificate" in user:
            context.load_cert_chain(user["client-certificate"], user["client-key"])
        return context

    def _opened(self, known: bool) -> http.client.HTTPSConnection:
        context = self._context if known else self._bare
        return http.client.HTTPSConnection(str(self._host.hostname), self._host.port or 443, timeout=ANSWER_SECONDS, context=context)

    def get(self, path: str) -> Any:
        return orjson.loads(self.text("GET", path))

    def put(self, path: str, obj: Any) -> Any:
        return orjson.loads(self.text("PUT", path, orjson.dumps(obj)))

    def objects(self, path: str) -> Iterator[Any]:
        """Everything of a collection, page by page. With a page's first object ``remaining`` is how many come behind that page."""
        token = ""
        while True:
            page = self.get(f"{path}?limit={PAGE}" + (f"&continue={token}" if token else ""))
            yield from page.get("items") or ()
            token = page["metadata"].get("continue", "")
            if not token:
                return

    def text(self, method: str, path: str, body: bytes | None = None, *, known: bool = True) -> bytes:
        """The body of an answer; without ``known`` nobody is named."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if known and self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        for attempt in range(2):
            connection = self._connections.pop(known, None) or self._opened(known)
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                text = answer.read(MOST_BYTES)
                break
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A connection that was kept may have been closed meanwhile; a write is not sent twice.
                if attempt or method != "GET":
                    raise CommandError(f"the API server at {self.server} does not answer: {error}") from error
        self._connections[known] = connection
        if answer.status >= 400:
            raise Refused(answer.status, _message(text))
        return text


def _chosen(kubeconfig: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The cluster and the user of the current context."""
    document = yaml.safe_load(kubeconfig.read_text())
    contexts = {found["name"]: found["context"] for found in document["contexts"]}
    context = contexts[document["current-context"]]
    clusters = {found["name"]: found["cluster"] for found in document["clusters"]}
    users = {found["name"]: found["user"] for found in document["users"]}
    return clusters[context["cluster"]], users[context["user"]]


def _message(text: bytes) -> str:
    try:
        return str(orjson.loads(text)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return text[:500].decode(errors="replace").strip()
