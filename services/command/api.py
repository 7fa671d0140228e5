"""The API of a cluster as a command asks it: by a kubeconfig, one request after the other."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import orjson

from knarr.service.errors import CommandError
from services.apiserver.webhooks.kubeconfig import read_remote

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
        try:
            self._known, self._nobody = read_remote(kubeconfig), read_remote(kubeconfig, as_nobody=True)
        except CommandError as error:
            raise CommandError(f"{error}: that is no kubeconfig of a cluster") from error
        self.server = server or self._known.url
        self._host = urlsplit(self.server)
        if self._host.scheme != "https" or not self._host.hostname:
            raise CommandError(f"{self.server} is no https:// URL of an API server")
        self._connections: dict[bool, http.client.HTTPSConnection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def _opened(self, known: bool) -> http.client.HTTPSConnection:
        context = (self._known if known else self._nobody).context
        return http.client.HTTPSConnection(str(self._host.hostname), self._host.port or 443, timeout=ANSWER_SECONDS, context=context)

    @property
    def authority(self) -> bytes:
        """The certificates of those whom the kubeconfig trusts, PEM."""
        found = self._nobody.context.get_ca_certs(binary_form=True) if self._nobody.context is not None else []
        return "".join(map(ssl.DER_cert_to_PEM_cert, found)).encode()

    def get(self, path: str) -> Any:
        return orjson.loads(self.text("GET", path))

    def find(self, path: str) -> Any | None:
        """What is there; None where there is nothing."""
        try:
            return self.get(path)
        except Refused as refused:
            if refused.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def put(self, path: str, obj: Any) -> Any:
        return orjson.loads(self.text("PUT", path, orjson.dumps(obj)))

    def apply(self, path: str, obj: Any, manager: str) -> Any:
        """Makes an object, or makes it be as ``manager`` has it: server-side apply, which takes over what others own."""
        query = f"{path}?fieldManager={manager}&force=true"
        return orjson.loads(self.text("PATCH", query, orjson.dumps(obj), content_type="application/apply-patch+yaml"))

    def delete(self, path: str) -> None:
        """Has an object deleted, with what hangs on it; one that is not there is no error."""
        try:
            self.text("DELETE", path, orjson.dumps({"propagationPolicy": "Background"}))
        except Refused as refused:
            if refused.code != HTTPStatus.NOT_FOUND:
                raise

    def objects(self, path: str, field_selector: str = "") -> Iterator[Any]:
        """Everything of a collection, page by page, or what is selected of it."""
        selected = f"&fieldSelector={quote(field_selector)}" if field_selector else ""
        token = ""
        while True:
            page = self.get(f"{path}?limit={PAGE}{selected}" + (f"&continue={token}" if token else ""))
            yield from page.get("items") or ()
            token = page["metadata"].get("continue", "")
            if not token:
                return

    def text(
        self, method: str, path: str, body: bytes | None = None, *, known: bool = True, content_type: str = "application/json"
    ) -> bytes:
        """The body of an answer; without ``known`` nobody is named."""
        shown = self._known.headers if known else {}
        headers = {"Content-Type": content_type, "Accept": "application/json", **shown}
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


def _message(text: bytes) -> str:
    try:
        return str(orjson.loads(text)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return text[:500].decode(errors="replace").strip()
