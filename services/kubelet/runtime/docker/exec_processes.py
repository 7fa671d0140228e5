"""Ending what was executed in a container: the engine has no call for it, so its processes are ended from the node.

Only where they are seen: an engine on another machine, or one whose processes are not the kubelet's to signal, keeps them.
"""

from __future__ import annotations

import signal
import time
from typing import NamedTuple

from services.kubelet.proc import PROC
from services.kubelet.runtime.signals import send_signal

# A process may make another until it is dead: they are looked for so often, this far apart.
ROUNDS, PAUSE_SECONDS = 50, 0.01
DEAD = (b"Z", b"X")


class _Process(NamedTuple):
    pid: int
    parent: int
    session: int
    dead: bool


def end_processes(pid: int, container_id: str) -> None:
    """Kills the process, what it started and what belongs to its session, as far as they are the container's. Raises PermissionError."""
    for _ in range(ROUNDS):
        living = [process.pid for process in _family(pid, _processes()) if not process.dead]
        killed = [member for member in living if send_signal(member, container_id, signal.SIGKILL)]
        if not killed:
            return
        time.sleep(PAUSE_SECONDS)


def _family(pid: int, processes: list[_Process]) -> list[_Process]:
    family = {process.pid for process in processes if process.session == pid or process.pid == pid}
    while more := {process.pid for process in processes if process.parent in family} - family:
        family |= more
    return [process for process in processes if process.pid in family]


def _processes() -> list[_Process]:
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                # After the name, which may hold anything: state, parent, group, session.
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            found.append(_Process(int(entry.name), int(fields[1]), int(fields[3]), fields[0] in DEAD))
    return found
