"""The background process of a cluster, seen from the CLI: start it, find it, stop it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, write_whole
from knarr.service.processes import ZOMBIE, stat_fields
from services.standalone.files import Files
from services.standalone.machine import sudo_caller
from services.standalone.signals import deferred, undisturbed

START_TIMEOUT_SECONDS = 60.0
# Each simulated node registers by itself; on a busy machine that takes a good part of it.
NODE_TIMEOUT_SECONDS = 0.25
STOP_TIMEOUT_SECONDS = 40.0
# The package that starts as a cluster's process, by its name here, and the folder in which Python finds it.
STANDALONE = __name__.rpartition(".")[0]
ROOT = Path(__file__).resolve().parents[__name__.count(".")]
LOG_LINES_SHOWN = 25
LOG_LINES_READ = 200
# As a line of the log begins; there was no date once.
_TIME = re.compile(r"([\d-]+ )?[\d:.]+ ")
# What was started by this process and goes on. A child that is forgotten is complained of, and one that ended stays until it is asked for.
_going_on: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster process that lives."""

    pid: int


def find(files: Files) -> Running | None:
    """The living process of a data directory. A stale pid file counts for nothing, and so does a stranger's that names what is not his."""
    try:
        with files.pid.open() as file:
            owner = os.fstat(file.fileno()).st_uid
            number, started = file.read().split()
        pid = int(number)
    except (FileNotFoundError, ValueError):
        return None
    # A pid alone may have been given to another process since: its start time tells them apart.
    return Running(pid) if start_time(pid) == started and _may_name(owner, pid) else None


def _may_name(owner: int, pid: int) -> bool:
    """Whoever lays a pid file where root looks for a cluster may have root end what is his own, and nothing else."""
    caller = sudo_caller()
    if owner in (0, os.geteuid()) or (caller and owner == caller[0]):
        return True
    with suppress(FileNotFoundError):
        return owner == Path(f"/proc/{pid}").stat().st_uid
    return False


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when it does not live."""
    fields = stat_fields(pid)
    return "" if not fields or fields[0] == ZOMBIE else fields[19]


def begun() -> float:
    """When this process was started, by the monotonic clock of this moment: what a person waits for begins there."""
    age_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - int(start_time(os.getpid())) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age_seconds


def write_pid(files: Files) -> None:
    write_whole(files.pid, f"{os.getpid()} {start_time(os.getpid())}\n".encode(), mode=PRIVATE)


def start_timeout(nodes: int) -> float:
    """How many seconds a cluster of so many nodes has to become ready."""
    return START_TIMEOUT_SECONDS + NODE_TIMEOUT_SECONDS * (nodes - 1)


def start(
    files: Files, arguments: list[str], on_step: Callable[[str, float], None], lock: int, timeout_seconds: float = START_TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Starts ``python -P -m services.standalone`` detached and waits until it is ready.

    ``lock`` is the descriptor that holds the data directory: the process goes on holding it. Returns what the cluster says of itself.
    Raises CommandError with the reason and the end of the log when it does not become ready; then, and when whoever waits is interrupted,
    the process is stopped.
    """
    reading, writing = os.pipe()
    children = []
    try:
        with _opened(files.log) as log, deferred():
            child = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", STANDALONE, *arguments),
                    *(f"--progress-fd={writing}", f"--since={begun():.2f}", f"--lock-fd={lock}", f"--log-file={files.log}"),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(writing, lock), start_new_session=True, cwd=ROOT,
                env=environment(),
            )  # fmt: skip
            children.append(child)
        os.close(writing)
        told = _await_ready(reading, child, files.log, on_step, timeout_seconds)
        _going_on.append(child)
        return told
    except BaseException:
        with undisturbed():
            for child in children:
                _end(child)
        raise


def environment() -> dict[str, str]:
    """In which Python finds this program without looking where it is started (``-P``). An installed one it finds by itself."""
    if ROOT.name in ("site-packages", "dist-packages"):
        return dict(os.environ)
    given = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{given}" if given else str(ROOT)}


def _opened(log: Path) -> BinaryIO:
    """The log to append to, its owner's alone whatever the umask."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    os.fchmod(descriptor, PRIVATE)
    return os.fdopen(descriptor, "ab")


def _await_ready(
    reading: int, child: subprocess.Popen[bytes], log: Path, on_step: Callable[[str, float], None], timeout_seconds: float
) -> dict[str, Any]:
    for message in _messages(reading, log, timeout_seconds):
        if "step" in message:
            on_step(message["step"], message["seconds"])
        elif "ready" in message:
            return {**message["ready"], "seconds": message["seconds"]}
        else:
            raise CommandError(message["error"])
    child.wait()
    raise CommandError(f"the cluster's process ended before it was ready; {_tail(log)}")


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _messages(reading: int, log: Path, timeout_seconds: float) -> Iterator[dict[str, Any]]:
    """The messages of a starting cluster, until the pipe closes or the time is up."""
    deadline = time.monotonic() + timeout_seconds
    buffer = b""
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([pipe], [], [], left)[0]:
                break
            data = pipe.read(65536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                yield json.loads(line)
    advice = "`knarr down` removes what it made so far"
    raise CommandError(f"the cluster was not ready within {timeout_seconds:.0f} s and was stopped ({advice}); {_tail(log)}")


def stop(files: Files) -> bool:
    """Stops the process and waits for its end; False when none lived. Its pid file may stay: see ``forget``."""
    running = find(files)
    if running is None:
        return False
    started = start_time(running.pid)
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while start_time(running.pid) == started:
        if time.monotonic() > deadline:
            os.kill(running.pid, signal.SIGKILL)
            deadline = float("inf")
        time.sleep(0.02)
    _going_on[:] = [child for child in _going_on if child.poll() is None]
    return True


def forget(files: Files) -> None:
    """Removes the pid file of a process that is gone. The caller holds the data directory: else it may be that of one that just came.

    Such a file counts for nothing, so that it stays where the disk takes no writes any more.
    """
    with suppress(OSError):
        files.pid.unlink(missing_ok=True)


def _tail(path: Path) -> str:
    """The end of a log, introduced; a line that comes again and again but for its time is told once."""
    told: dict[str, str] = {}
    for line in path.read_text(errors="replace").splitlines()[-LOG_LINES_READ:]:
        told[_TIME.sub("", line)] = line
    shown = list(told.values())[-LOG_LINES_SHOWN:]
    return f"the end of {path}:\n" + "\n".join(f"  {line}" for line in shown)
