"""A registry of one image at a port of loopback, which lets one user in."""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from services.kubelet.runtime.cri.image_import import Blob, image_blobs
from tests.kubelet.docker_support import busybox_archive


class Registry(ThreadingHTTPServer):
    """``came`` are the users that asked for the manifest, empty for nobody."""

    daemon_threads = True

    def __init__(self, user: str, password: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.user, self.password = user, password
        # No engine has it already.
        layer, config, self.manifest = image_blobs(busybox_archive(), {"Env": ["PATH=/bin"], "Labels": {"of": uuid.uuid4().hex}})
        self.blobs = {blob.digest: blob for blob in (layer, config, self.manifest)}
        self.came: list[str] = []

    @property
    def image(self) -> str:
        return f"127.0.0.1:{self.server_port}/team/app:1"


class _Answers(BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(value).decode().partition(":") if kind == "Basic" else ("", "", "")
        if "/manifests/" in self.path:
            self.server.came.append(user)
        if (user, password) != (self.server.user, self.server.password):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        blob = self._blob()
        self.send_response(200 if blob is not None else 404)
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        self.send_header("Content-Length", str(len(blob.data) if blob is not None else 0))
        if blob is not None and blob.media_type:
            self.send_header("Content-Type", blob.media_type)
            self.send_header("Docker-Content-Digest", blob.digest)
        self.end_headers()
        if blob is not None and self.command == "GET":
            self.wfile.write(blob.data)

    do_GET = do_HEAD

    def _blob(self) -> Blob | None:
        last = self.path.rpartition("/")[2]
        if self.path.rstrip("/") == "/v2":
            return Blob("", b"{}")
        return self.server.manifest if last == "1" and "/manifests/" in self.path else self.server.blobs.get(last)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def registry(user: str, password: str) -> Iterator[Registry]:
    made = Registry(user, password)
    thread = threading.Thread(target=made.serve_forever, name="registry")
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()
