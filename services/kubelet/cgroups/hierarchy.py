"""The kernel's control groups, as files: made, held to limits, removed. Blocking; raises OSError."""

from __future__ import annotations

import contextlib
import logging
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from services.kubelet.cgroups.names import SYSTEMD, Group, folder, unit
from services.kubelet.cgroups.shortage import KillCount, ShortageWatch
from services.kubelet.cgroups.values import GroupLimits, properties, v1_files, v2_files
from services.kubelet.proc import table
from services.kubelet.runtime.groups import MOUNTS, is_unified
from services.kubelet.runtime.memory_stat import working_set

log = logging.getLogger(__name__)

# Those that pods are held by; hugetlb where the kernel has it.
CONTROLLERS = ("cpu", "memory", "pids", "hugetlb")
SYSTEMCTL_SECONDS = 20.0

Run = Callable[[Sequence[str]], None]


def systemctl(arguments: Sequence[str]) -> None:
    """Raises OSError with its words."""
    try:
        done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"systemctl {arguments[0]} took more than {SYSTEMCTL_SECONDS:g} s") from error
    if done.returncode:
        raise OSError(f"systemctl {arguments[0]}: {done.stderr.strip()}")


class Hierarchy:
    """Version 1 has a tree for each controller below ``mounts``, version 2 one for all. With systemd as driver groups are slices."""

    def __init__(self, driver: str, mounts: Path = MOUNTS, run: Run = systemctl) -> None:
        self._driver, self._mounts, self._run = driver, mounts, run
        self.version = 2 if is_unified(mounts) else 1

    def make(self, group: Group, limits: GroupLimits) -> None:
        """Makes a group with those above it and holds it to the limits; may be repeated."""
        if self._driver == SYSTEMD:
            self._run(["start", unit(group)])
            self._run(["set-property", "--runtime", unit(group), *properties(limits, version=self.version)])
        else:
            for root in self._trees():
                self._make(root, group)
        for controller, name, text in v1_files(limits) if self.version == 1 else v2_files(limits):
            self._write(controller, group, name, text)

    def _make(self, root: Path, group: Group) -> None:
        for count in range(1, len(group) + 1):
            place = root / "/".join(group[:count])
            place.mkdir(exist_ok=True)
            if self.version == 2:
                self._enable(place.parent)

    def _enable(self, place: Path) -> None:
        """Lets those below a group be held by its controllers: not possible where processes are in it, but for the root."""
        there = (place / "cgroup.controllers").read_text().split()
        control = place / "cgroup.subtree_control"
        missing = [name for name in CONTROLLERS if name in there and name not in control.read_text().split()]
        if missing:
            control.write_text(" ".join(f"+{name}" for name in missing))

    def _write(self, controller: str, group: Group, name: str, text: str) -> None:
        """What the kernel has no file for is not held; systemd has set the others already, and writes them again as it likes."""
        path = self._tree(controller) / folder(group, self._driver) / name
        if path.exists():
            if path.read_text().strip() != text:
                path.write_text(text)
        elif controller in ("cpu", "memory") and self._driver != SYSTEMD:
            raise FileNotFoundError(f"{path}: the kernel does not hold groups by {controller}")

    def remove(self, group: Group) -> None:
        """With all below it, from which everything has gone; may be repeated."""
        places = [place for root in self._every_tree() if (place := root / folder(group, self._driver)).is_dir()]
        if places and self._driver == SYSTEMD:
            with contextlib.suppress(OSError):
                self._run(["stop", unit(group)])
                self._run(["revert", unit(group)])
        for place in places:
            _remove(place)

    def pods(self, group: Group) -> list[str]:
        """The uids of the pods that have a group directly below this one."""
        place = self._trees()[0] / folder(group, self._driver)
        names = [found.name.removesuffix(".slice").rpartition("-" if self._driver == SYSTEMD else "/")[2] for found in _below(place)]
        uids = [name.removeprefix("pod") for name in names if name.startswith("pod")]
        return [uid.replace("_", "-") for uid in uids] if self._driver == SYSTEMD else uids

    def watch(self, group: Group) -> ShortageWatch | KillCount:
        place = self._tree("memory") / folder(group, self._driver)
        return KillCount(place) if self.version == 2 else ShortageWatch(place)

    def memory(self, group: Group) -> int:
        """Bytes in use, but for pages of files that were used once and can be had back."""
        place = self._tree("memory") / folder(group, self._driver)
        used = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
        return working_set(int((place / used).read_text()), table(place / "memory.stat"))

    def _tree(self, controller: str) -> Path:
        return self._mounts if self.version == 2 else self._mounts / controller

    def _trees(self) -> list[Path]:
        """Those in which the groups are made."""
        if self.version == 2:
            return [self._mounts]
        return [self._mounts / name for name in CONTROLLERS if (self._mounts / name).is_dir()] or [self._mounts / CONTROLLERS[0]]

    def _every_tree(self) -> list[Path]:
        """Also those in which the engine has made the groups."""
        return [self._mounts] if self.version == 2 else [found for found in self._mounts.iterdir() if found.is_dir()]


def _below(place: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return [found for found in place.iterdir() if found.is_dir()]
    return []


def _remove(place: Path) -> None:
    for found in _below(place):
        _remove(found)
    with contextlib.suppress(FileNotFoundError):
        place.rmdir()
