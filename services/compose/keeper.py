"""``python -m services.compose.keeper``: brings back containers that should run and whose start failed, and has certificates renewed.

An engine that has come up, or restarts a container by its policy, asks for no order and tries only once. A node's kubelet and proxy are
containers in the namespaces of another one: what comes before its machine stays down. This looks every other second at what is, and
starts what failed. What a person has stopped did not fail, and is left alone.

The container that makes certificates ends when it has made them. A day later it is started again: it makes anew what is about to
expire, and servers show that to the next connection.

It needs the engine's socket, and nothing else: no network, no capability, no file.
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import signal
import socket
import threading
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

SOCKET = Path("/run/engine.sock")
PERIOD_SECONDS = 2.0
TIMEOUT_SECONDS = 30.0
SHARED = "container:"
# Policies by which a container is to run whenever the engine does.
RESTARTED = ("always", "unless-stopped")
# The service that makes certificates, which are made anew 30 days before they expire, and how long after its end it is due again.
RENEWING = "setup"
RENEW_AFTER = timedelta(days=1)

Call = Callable[[str, str], Any]
"""Method and path of the engine's API; its answer, None when there is none. Raises EngineError, OSError."""


class EngineError(Exception):
    """The engine refused; the text is its own."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def engine(path: Path) -> Call:
    """The API of the engine that listens on a Unix socket."""

    def call(method: str, target: str) -> Any:
        connection = _UnixConnection(path)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise EngineError(body.decode(errors="replace").strip())
        return json.loads(body) if body else None

    return call


def ended(call: Call, project: str) -> list[dict[str, Any]]:
    """What the engine knows of the containers of a compose project that do not run."""
    wanted = json.dumps({"label": [f"com.docker.compose.project={project}"], "status": ["exited"]})
    entries = call("GET", f"/containers/json?all=1&filters={urllib.parse.quote(wanted)}")
    return [call("GET", f"/containers/{entry['Id']}/json") for entry in entries]


def due(call: Call, project: str, now: datetime) -> dict[str, str]:
    """Names of containers to start, and why: those that should run and whose start failed, and the one that renews certificates."""
    reasons = {}
    for container in ended(call, project):
        if _failed(container) and _has_owner(call, container):
            reasons[_name(container)] = "whose start had failed"
        elif _renews(container) and abs(now - _end(container)) >= RENEW_AFTER:
            reasons[_name(container)] = "to renew what is about to expire"
    return reasons


def _name(container: dict[str, Any]) -> str:
    return str(container["Name"]).removeprefix("/")


def _renews(container: dict[str, Any]) -> bool:
    labels = container["Config"]["Labels"]
    return bool(labels["com.docker.compose.service"] == RENEWING) and labels.get("com.docker.compose.oneoff") != "True"


def _end(container: dict[str, Any]) -> datetime:
    """When it ended, to the second: the engine counts further than Python."""
    return datetime.fromisoformat(str(container["State"]["FinishedAt"])[: len("2026-01-01T00:00:00")]).replace(tzinfo=UTC)


def _failed(container: dict[str, Any]) -> bool:
    """It would have been restarted, and that went wrong; the engine notes no error of what has ended or was stopped."""
    wanted = container["HostConfig"]["RestartPolicy"]["Name"] in RESTARTED
    return wanted and bool(container["State"]["Error"]) and not container["State"]["Running"]


def _has_owner(call: Call, container: dict[str, Any]) -> bool:
    """Whether the container whose network it shares runs; true when it has a network of its own."""
    mode = str(container["HostConfig"]["NetworkMode"])
    if not mode.startswith(SHARED):
        return True
    try:
        return bool(call("GET", f"/containers/{mode.removeprefix(SHARED)}/json")["State"]["Running"])
    except EngineError:
        return False


def look(call: Call, project: str, now: datetime) -> None:
    """One round; what a container's removal in between makes impossible is left to the next."""
    try:
        found = due(call, project, now)
    except EngineError as error:
        log.warning("cannot look: %s", error)
        return
    for name, reason in found.items():
        try:
            call("POST", f"/containers/{name}/start")
            log.info("started %s, %s", name, reason)
        except EngineError as error:
            log.warning("cannot start %s: %s", name, error)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services.compose.keeper", description="Start what came before its machine, and what renews certificates."
    )
    parser.add_argument("project", metavar="PROJECT", help="the compose project whose containers are looked after")
    parser.add_argument("--socket", type=Path, default=SOCKET, metavar="PATH", help="the engine's (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    call = engine(arguments.socket)
    while not stop.wait(PERIOD_SECONDS):
        try:
            look(call, arguments.project, datetime.now(UTC))
        except OSError as error:
            # The engine has another socket since; this container's next start finds it.
            log.error("the engine does not answer at %s: %s", arguments.socket, error)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
