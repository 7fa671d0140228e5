"""What failed to start, like a kubelet before its machine, is started; what a person stopped is not."""

from __future__ import annotations

import http.server
import json
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.compose.keeper import RENEW_AFTER, EngineError, due, engine, look

NOW = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
CANNOT_JOIN = "cannot join network of a non running container: m"


@dataclass
class Engine:
    """Containers by id, as (state, network mode, error); what was started. They ended at ``ended``; one is the service ``setup``."""

    containers: dict[str, tuple[str, str, str]]
    started: list[str] = field(default_factory=list)
    refuses: str = ""
    policy: str = "unless-stopped"
    ended: str = "2026-01-01T00:00:00.123456789Z"

    def __call__(self, method: str, target: str) -> Any:
        path, _, query = target.partition("?")
        if path == "/containers/json":
            filters = json.loads(urllib.parse.parse_qs(query)["filters"][0])
            assert filters == {"label": ["com.docker.compose.project=knarr"], "status": ["exited"]}
            return [{"Id": name} for name, (state, *_) in self.containers.items() if state == "exited"]
        _, _, name, verb = path.split("/")
        name = name.removeprefix("knarr-")
        if name not in self.containers:
            raise EngineError(f"No such container: {name}")
        if (method, verb) == ("POST", "start"):
            if self.refuses:
                raise EngineError(self.refuses)
            self.started.append(name)
            return None
        state, mode, error = self.containers[name]
        host = {"NetworkMode": mode, "RestartPolicy": {"Name": self.policy}}
        labels = {"com.docker.compose.service": name, "com.docker.compose.oneoff": "False"}
        now = {"Running": state == "running", "Error": error, "FinishedAt": self.ended}
        return {"Id": name, "Name": f"/knarr-{name}", "Config": {"Labels": labels}, "HostConfig": host, "State": now}


@pytest.mark.parametrize(
    ("machine", "kubelet", "started"),
    [
        ("running", ("exited", "container:m", CANNOT_JOIN), ["k"]),
        # Its machine is not there either.
        ("exited", ("exited", "container:m", CANNOT_JOIN), []),
        # It has ended, or was stopped by someone.
        ("running", ("exited", "container:m", ""), []),
        ("running", ("running", "container:m", ""), []),
        # It has a network of its own, and failed for another reason, which may have passed.
        ("exited", ("exited", "cluster", "port is already allocated"), ["k"]),
        # Its machine was removed.
        ("running", ("exited", "container:gone", CANNOT_JOIN), []),
    ],
)
def test_what_failed_to_start_and_can_now_is_started(machine: str, kubelet: tuple[str, str, str], started: list[str]) -> None:
    fake = Engine({"m": (machine, "cluster", ""), "k": kubelet})
    look(fake, "knarr", NOW)
    assert fake.started == started


def test_what_is_not_to_be_restarted_is_left_alone() -> None:
    fake = Engine({"k": ("exited", "none", "no such file")}, policy="no")
    look(fake, "knarr", NOW)
    assert fake.started == []


def test_a_refused_start_is_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    fake = Engine({"m": ("running", "cluster", ""), "k": ("exited", "container:m", CANNOT_JOIN)}, refuses="no space left")
    look(fake, "knarr", NOW)
    assert "cannot start knarr-k: no space left" in caplog.text
    fake.refuses = ""
    look(fake, "knarr", NOW)
    assert fake.started == ["k"]


@pytest.mark.parametrize(
    ("later", "started"),
    [
        (RENEW_AFTER - timedelta(seconds=31), []),
        (RENEW_AFTER, ["setup"]),
        (300 * RENEW_AFTER, ["setup"]),
        # The clock was ahead when it ended.
        (-2 * RENEW_AFTER, ["setup"]),
    ],
)
def test_certificates_are_renewed_a_day_after_the_last_time(later: timedelta, started: list[str]) -> None:
    fake = Engine({"setup": ("exited", "none", ""), "k": ("exited", "cluster", "")}, policy="no")
    look(fake, "knarr", NOW + later)
    assert fake.started == started


def test_what_renews_certificates_is_left_alone_while_it_runs() -> None:
    fake = Engine({"setup": ("running", "none", "")}, policy="no")
    look(fake, "knarr", NOW + RENEW_AFTER)
    assert fake.started == []


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[Path, Engine]]:
    """The same engine behind a Unix socket."""
    fake = Engine({"m": ("running", "cluster", ""), "k": ("exited", "container:m", CANNOT_JOIN)})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                status, body = 200, json.dumps(fake(self.command, self.path)).encode() if self.command == "GET" else b""
                if self.command == "POST":
                    fake(self.command, self.path)
            except EngineError as error:
                status, body = 404, str(error).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

        def address_string(self) -> str:
            return "engine"

    path = tmp_path / "engine.sock"
    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield path, fake
        server.shutdown()
        thread.join()


def test_the_engine_is_asked_over_its_socket(listening: tuple[Path, Engine]) -> None:
    path, fake = listening
    call = engine(path)
    assert due(call, "knarr", NOW) == {"knarr-k": "whose start had failed"}
    look(call, "knarr", NOW)
    assert fake.started == ["k"]
    with pytest.raises(EngineError, match="No such container: x"):
        call("GET", "/containers/x/json")


def test_it_ends_when_asked_and_when_the_engine_is_gone(listening: tuple[Path, Engine], tmp_path: Path) -> None:
    path, fake = listening
    command = [sys.executable, "-m", "services.compose.keeper", "knarr", "--socket"]
    with subprocess.Popen([*command, str(path)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "started knarr-k, whose start had failed\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert fake.started
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(dead))
    done = subprocess.run([*command, str(dead)], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith(f"the engine does not answer at {dead}: ")
