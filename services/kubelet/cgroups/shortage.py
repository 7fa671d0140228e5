"""Hears that a control group had no memory left. Blocking; raises OSError."""

from __future__ import annotations

import os
from pathlib import Path

from services.kubelet.proc import table


class KillCount:
    """Of version 2: a group counts whom the kernel ended in it and below it, and keeps the count when their own groups are gone."""

    def __init__(self, place: Path) -> None:
        self._place = place / "memory.events"
        self._seen = self._read()

    def happened(self) -> bool:
        """Whether it did since this was asked last; not where the group is gone."""
        before = self._seen
        try:
            self._seen = self._read()
        except OSError:
            return False
        return self._seen > before

    def close(self) -> None:
        """There is nothing to close."""

    def _read(self) -> int:
        return table(self._place).get("oom_kill", 0)


class ShortageWatch:
    """Of version 1. The kernel counts a victim in the victim's own group, which goes with its container; in the group that had none left it
    counts nobody, and tells those alone who have asked before."""

    def __init__(self, place: Path) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._control = os.open(place / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            os.close(self._event)
            raise
        try:
            (place / "cgroup.event_control").write_text(f"{self._event} {self._control}")
        except BaseException:
            self.close()
            raise

    def happened(self) -> bool:
        """Whether it did since this was asked last."""
        try:
            return os.eventfd_read(self._event) > 0
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._control)
        os.close(self._event)
