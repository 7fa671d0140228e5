"""Holds all processes below a group where they are, in one step, those that come to it meanwhile included. Blocking; raises OSError.

An engine's own call freezes one container after the other, not those that it is just making, and none in which a command is being begun: it
waits for that command, which is frozen by then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from services.kubelet.cgroups.names import CGROUPFS, SYSTEMD, Group, folder
from services.kubelet.proc import PROC
from services.kubelet.runtime.groups import MOUNTS, is_unified

# How long it may take until the last process stands: one that waits for a disk cannot at once. One that waits for another, which stands
# already, never would: after a while all are let go on, and held anew.
STAND_SECONDS, ANEW_SECONDS = 10.0, 1.0
POLL_SECONDS = 0.01
# A process that is about to become a container's, or a command's in one, by its name, and how often those are let go on to become it.
BEGINNER, TRIES, BEGIN_SECONDS = "runc:[", 40, 0.05


class Freezer:
    """Of a node's own group, whichever driver has made it. Where there is none, nothing is below it, or it is not to be seen here."""

    def __init__(self, group: Group, mounts: Path = MOUNTS, proc: Path = PROC) -> None:
        self._proc = proc
        self._unified = is_unified(mounts)
        tree = mounts if self._unified else mounts / "freezer"
        self._places = [tree / folder(group, driver) for driver in (CGROUPFS, SYSTEMD)]

    def freeze(self) -> None:
        """Returns when everything stands. May be repeated; undone where it fails.

        Whoever asks the engine about a container waits for what is being begun in it, so that this is let come to its end first.
        """
        end = time.monotonic() + STAND_SECONDS
        for left in reversed(range(TRIES + 1)):
            stands = self._freeze(end)
            if stands and (not left or not self._begins()):
                return
            self.thaw()
            if not stands and (not left or time.monotonic() >= end):
                raise TimeoutError(f"processes do not stand after {STAND_SECONDS:g} s: they wait for a disk, or for a network's disk")
            time.sleep(BEGIN_SECONDS)

    def _freeze(self, end: float) -> bool:
        """Whether everything stands after a while, at ``end`` at the latest."""
        for place in self._there():
            file, on, _ = self._switch(place)
            file.write_text(on)
        try:
            return self._wait(min(time.monotonic() + ANEW_SECONDS, end))
        except OSError:
            self.thaw()
            raise

    def thaw(self) -> None:
        """Lets everything go on. May be repeated."""
        for place in self._there():
            file, _, off = self._switch(place)
            file.write_text(off)

    def groups(self) -> Iterator[str]:
        """The names of those at the end, which are containers'."""
        for place in self._there():
            for found in place.rglob("*"):
                if found.is_dir() and not any(one.is_dir() for one in found.iterdir()):
                    yield found.name

    def _begins(self) -> bool:
        """Whether a process stands that is not yet what it is to be."""
        names = [self._proc / pid / "comm" for place in self._there() for file in place.rglob("cgroup.procs") for pid in _lines(file)]
        return any(line.startswith(BEGINNER) for name in names for line in _lines(name))

    def _there(self) -> list[Path]:
        return [place for place in self._places if self._switch(place)[0].exists()]

    def _switch(self, place: Path) -> tuple[Path, str, str]:
        """A file, and what is written to it for on and off."""
        return (place / "cgroup.freeze", "1", "0") if self._unified else (place / "freezer.state", "FROZEN", "THAWED")

    def _wait(self, deadline: float) -> bool:
        while not all(self._stands(place) for place in self._there()):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _stands(self, place: Path) -> bool:
        if self._unified:
            return "frozen 1" in (place / "cgroup.events").read_text().splitlines()
        return (place / "freezer.state").read_text().strip() == "FROZEN"


def _lines(file: Path) -> list[str]:
    """None of a process, or a group, that has gone."""
    try:
        return file.read_text().split("\n")[:-1]
    except OSError:
        return []
