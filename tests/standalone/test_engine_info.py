"""What an engine tells of itself, by its socket, and that a rootless one is told from others."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.standalone.engine_info import engine_info, is_rootless
from services.standalone.preflight import docker_problems


class Answer(http.server.BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, format: str, *args: Any) -> None:
        """To nobody."""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answer]]:
    """One at a socket of its own, which DOCKER_HOST names; `body` is what it answers."""
    kind = type("Kind", (Answer,), {})
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "e.sock"), kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/e.sock")
        try:
            yield kind
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("options", [["name=seccomp,profile=default", "name=rootless"], ["name=rootless"]])
def test_a_rootless_engine_is_refused_with_a_way_out(engine: type[Answer], options: list[str]) -> None:
    engine.body = json.dumps({"SecurityOptions": options}).encode()
    (problem,) = docker_problems()
    assert "is a rootless one" in problem and "--runtime hollow" in problem


@pytest.mark.parametrize("body", [b'{"SecurityOptions": ["name=seccomp"]}', b"{}", b"[]", b"no json", b'{"SecurityOptions": null}'])
def test_others_are_taken(engine: type[Answer], body: bytes) -> None:
    engine.body = body
    assert list(docker_problems()) == []


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert engine_info() is None
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    assert engine_info() is None and not is_rootless({})
