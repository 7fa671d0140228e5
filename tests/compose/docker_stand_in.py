"""Plays the Docker engine for the tests of `knarr load`: its engines are folders.

An engine is a file for each image, with its layers and environment, and layers/. A command in container C works on the engine C,
everything else on that of `host`. `load` wants a file for each layer that lies not there on the same layers.
"""

from __future__ import annotations

import http.server
import io
import json
import socketserver
import struct
import tarfile
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STDOUT, STDERR = 1, 2


class Refused(Exception):
    """The engine's words."""


class Engine:
    """One engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def image(self, name: str) -> dict[str, Any]:
        path = self.folder / f"{name}.json"
        if not path.exists():
            raise Refused(f"no such image {name}")
        return dict(json.loads(path.read_text()))

    def inspect(self, name: str) -> dict[str, Any]:
        """As the API answers it."""
        found = self.image(name)
        return {"Architecture": "amd64", "RootFS": {"Layers": found["layers"]}, "Config": {"Env": [found["env"]]}, "Size": 10}

    def all_layers(self) -> list[list[str]]:
        return [json.loads(path.read_text())["layers"] for path in self.folder.glob("*.json")]

    def save(self, names: list[str]) -> bytes:
        images = {name: self.image(name) for name in names}
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w|") as archive:
            for digest in sorted({layer.removeprefix("sha256:") for found in images.values() for layer in found["layers"]}):
                _add(archive, f"blobs/sha256/{digest}", (self.folder / "layers" / digest).read_bytes())
            _add(archive, "manifest.json", json.dumps(images).encode())
        return written.getvalue()

    def load(self, source: Any) -> None:
        if (self.folder / "full").exists():
            raise Refused("no space left on device")
        with tarfile.open(fileobj=source, mode="r|") as archive:
            files = {entry.name: (archive.extractfile(entry) or io.BytesIO()).read() for entry in archive}
        (self.folder / "received").write_text(" ".join(sorted(files)))
        if "manifest.json" not in files:
            raise Refused("unexpected EOF")
        there = self.all_layers()
        for name, found in json.loads(files["manifest.json"]).items():
            for number, layer in enumerate(found["layers"], 1):
                known = any(layers[:number] == found["layers"][:number] for layers in there)
                if not known and f"blobs/sha256/{layer.removeprefix('sha256:')}" not in files:
                    raise Refused(f"layer {layer} is missing")
            (self.folder / f"{name}.json").write_text(json.dumps(found))

    def command(self, words: list[str], source: Any) -> str:
        """What the node's docker command writes to standard output."""
        match words:
            case ["docker", "info", *_]:
                store = self.folder / "store"
                return store.read_text() if store.exists() else "[]"
            case ["sh", "-c", _]:
                return "\n".join(map(json.dumps, self.all_layers()))
            case ["docker", "image", "inspect", name]:
                return json.dumps([self.inspect(name)])
            case ["docker", "load", *_]:
                self.load(source)
                return ""
            case _:
                raise Refused(f"the stand-in does not know: {' '.join(words)}")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


class Server(socketserver.ThreadingUnixStreamServer):
    """The API of the engine `host`."""

    daemon_threads = True

    def __init__(self, socket: Path, store: Path) -> None:
        self.store = store
        # What has been asked to run, and how it ended.
        self.commands: list[tuple[str, list[str]]] = []
        self.codes: dict[int, int] = {}
        super().__init__(str(socket), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        target = urllib.parse.urlsplit(self.path)
        host, path = Engine(self.server.store / "host"), target.path.split("/")[2:]
        try:
            match path:
                case [] | [""]:
                    self._answer({"ApiVersion": "1.43"})
                case ["containers", "json"]:
                    self._answer(self._nodes())
                case ["images", "get"]:
                    self._save(host, urllib.parse.parse_qs(target.query)["names"])
                case ["images", name, "json"]:
                    self._answer(host.inspect(urllib.parse.unquote(name)))
                case ["exec", number, "json"]:
                    self._answer({"ExitCode": self.server.codes[int(number)]})
        except Refused as error:
            self._answer({"message": str(error)}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.path.split("/")[2:]:
            case ["containers", container, "exec"]:
                self.server.commands.append((container, body["Cmd"]))
                self._answer({"Id": str(len(self.server.commands) - 1)})
            case ["exec", number, "start"]:
                self._run(int(number))

    def _nodes(self) -> list[dict[str, Any]]:
        lines = (line.split() for line in (self.server.store / "nodes").read_text().splitlines())
        return [{"Labels": {"com.docker.compose.service": name}, "Id": identity, "State": state} for name, identity, state in lines]

    def _save(self, host: Engine, names: list[str]) -> None:
        archive = host.save(names)
        if (self.server.store / "save-fails").exists():
            self._answer({"message": "the engine stumbled"}, 500)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(archive)))
        self.end_headers()
        # What breaks off is shorter than it was said to be.
        self.wfile.write(archive[: 1000 if (self.server.store / "save-breaks").exists() else None])
        self.close_connection = True

    def _run(self, number: int) -> None:
        container, words = self.server.commands[number]
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "tcp")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        try:
            stream, text = STDOUT, Engine(self.server.store / container).command(words, self.rfile)
        except Refused as error:
            stream, text = STDERR, str(error)
        except tarfile.TarError:
            stream, text = STDERR, "unexpected EOF"
        self.server.codes[number] = int(stream == STDERR)
        self.wfile.write(struct.pack(">BxxxL", stream, len(text.encode())) + text.encode())
        # What it did not read would be a reset for whoever sends it.
        while words[1] == "load" and self.rfile.read(1 << 16):
            pass

    def _answer(self, fields: Any, status: int = 200) -> None:
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(socket: Path, store: Path) -> Iterator[None]:
    with Server(socket, store) as server:
        thread = threading.Thread(target=server.serve_forever, name="docker-stand-in", kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
