"""What a container uses, as the kernel counts it in its control groups (cgroups(7)). Blocking; raises OSError.

The same figures as an engine tells, and without asking one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from services.kubelet.proc import PROC, table
from services.kubelet.runtime.memory_stat import UNLIMITED, details_of_memory, working_set
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.usage import Usage

MOUNTS = Path("/sys/fs/cgroup")
# Of version 1, each a tree of its own below the mounts; nobody can do without the first two.
CONTROLLERS = CPU, MEMORY, *_ = ("cpuacct", "memory", "cpu", "pids", "blkio")
# Version 2 has one tree for all, which /proc tells without a controller's name.
ALL = ""
NANOSECONDS, MICROSECOND = 1_000_000_000, 1000

# The folders of one container's groups, by controller.
Groups = Mapping[str, Path]


def is_unified(mounts: Path = MOUNTS) -> bool:
    """Whether the kernel's groups are those of version 2."""
    return (mounts / "cgroup.controllers").exists()


def are_seen(proc: Path = PROC, mounts: Path = MOUNTS) -> bool:
    """Whether groups lie where /proc says: not for a process in a container, which sees its own alone."""
    try:
        first, told = (_paths((proc / name / "cgroup").read_text()) for name in ("1", "self"))
    except OSError:
        return False
    # From within a view of its own (cgroup_namespaces(7)) others are above it.
    return not any(path.startswith("/..") for path in first.values()) and _folders(told, mounts) is not None


def find(pid: int, container_id: str, proc: Path = PROC, mounts: Path = MOUNTS) -> Groups | None:
    """Those of the container whose process is ``pid``; None where they are not to be seen, or it is another's process."""
    try:
        told = _paths((proc / str(pid) / "cgroup").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A container may have made groups of its own below, and moved its processes there.
    cut = {name: _up_to(path, container_id) for name, path in told.items()}
    found = _folders({name: path for name, path in cut.items() if path}, mounts)
    # A tree for all holds nobody to memory unless somebody has said so above.
    return None if found is None or (ALL in found and not (found[ALL] / "memory.current").exists()) else found


def read(pod: PodRef, container: str, groups: Groups) -> Usage:
    """What is used now. Raises OSError, as when the container has ended."""
    return _read_unified(pod, container, groups[ALL]) if ALL in groups else _read_split(pod, container, groups)


def _paths(text: str) -> dict[str, str]:
    """By controller, from a file like /proc/PID/cgroup."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _up_to(path: str, container_id: str) -> str:
    """As far as the part that names the container: with systemd that says more than the id. Empty where none does."""
    parts = path.split("/")
    named = next((count for count, part in enumerate(parts, 1) if container_id in part), 0)
    return "/".join(parts[:named])


def _folders(paths: Mapping[str, str], mounts: Path) -> Groups | None:
    names = (ALL,) if is_unified(mounts) else CONTROLLERS
    found = {name: mounts / name / paths[name].lstrip("/") for name in names if name in paths}
    there = {name: folder for name, folder in found.items() if folder.is_dir()}
    return there if ALL in there or (CPU in there and MEMORY in there) else None


def _read_split(pod: PodRef, container: str, groups: Groups) -> Usage:
    cpu, memory = groups[CPU], groups[MEMORY]
    times, held = table(cpu / "cpuacct.stat"), table(groups["cpu"] / "cpu.stat") if "cpu" in groups else {}
    told, used, limit = table(memory / "memory.stat"), _number(memory / "memory.usage_in_bytes"), _number(memory / "memory.limit_in_bytes")
    tick = NANOSECONDS // os.sysconf("SC_CLK_TCK")
    blocks = groups.get("blkio")
    moved = _blocks(blocks / "blkio.throttle.io_service_bytes_recursive") if blocks else {}
    operations = _blocks(blocks / "blkio.throttle.io_serviced_recursive") if blocks else {}
    details = replace(
        details_of_memory(told),
        cpu_user_nanoseconds=times.get("user", 0) * tick,
        cpu_system_nanoseconds=times.get("system", 0) * tick,
        cpu_periods=held.get("nr_periods", 0),
        cpu_throttled_periods=held.get("nr_throttled", 0),
        cpu_throttled_nanoseconds=held.get("throttled_time", 0),
        memory_usage_bytes=used,
        memory_most_bytes=_number(memory / "memory.max_usage_in_bytes"),
        memory_limit_bytes=limit if limit < UNLIMITED else 0,
        memory_failures=_number(memory / "memory.failcnt"),
        read_bytes=moved.get("Read", 0),
        written_bytes=moved.get("Write", 0),
        reads=operations.get("Read", 0),
        writes=operations.get("Write", 0),
    )
    processes = _optional(groups["pids"] / "pids.current") if "pids" in groups else 0
    return Usage(pod, container, _number(cpu / "cpuacct.usage"), working_set(used, told), processes, details)


def _read_unified(pod: PodRef, container: str, group: Path) -> Usage:
    times, told, used = table(group / "cpu.stat"), table(group / "memory.stat"), _number(group / "memory.current")
    moved = _devices(group / "io.stat")
    details = replace(
        details_of_memory(told),
        cpu_user_nanoseconds=times["user_usec"] * MICROSECOND,
        cpu_system_nanoseconds=times["system_usec"] * MICROSECOND,
        cpu_periods=times.get("nr_periods", 0),
        cpu_throttled_periods=times.get("nr_throttled", 0),
        cpu_throttled_nanoseconds=times.get("throttled_usec", 0) * MICROSECOND,
        memory_usage_bytes=used,
        memory_most_bytes=_optional(group / "memory.peak"),
        memory_limit_bytes=_optional(group / "memory.max"),
        memory_failures=table(group / "memory.events").get("max", 0),
        swap_bytes=_optional(group / "memory.swap.current"),
        read_bytes=moved.get("rbytes", 0),
        written_bytes=moved.get("wbytes", 0),
        reads=moved.get("rios", 0),
        writes=moved.get("wios", 0),
    )
    processes = _optional(group / "pids.current")
    return Usage(pod, container, times["usage_usec"] * MICROSECOND, working_set(used, told), processes, details)


def _number(file: Path) -> int:
    return int(file.read_text())


def _optional(file: Path) -> int:
    """0 where the kernel has no such file, or says that there is no limit."""
    try:
        text = file.read_text().strip()
    except FileNotFoundError:
        return 0
    return 0 if text == "max" else int(text)


def _blocks(file: Path) -> dict[str, int]:
    """By operation, of all devices: each line is a device, an operation and a figure, but for their sum."""
    found: dict[str, int] = {}
    for words in _lines(file):
        if len(words) == 3:
            found[words[1]] = found.get(words[1], 0) + int(words[2])
    return found


def _devices(file: Path) -> dict[str, int]:
    """Of all devices: each line is one, with names and figures."""
    found: dict[str, int] = {}
    for _, *told in _lines(file):
        for name, _, figure in (word.partition("=") for word in told):
            found[name] = found.get(name, 0) + int(figure or 0)
    return found


def _lines(file: Path) -> list[list[str]]:
    try:
        return [line.split() for line in file.read_text().splitlines()]
    except FileNotFoundError:
        return []
