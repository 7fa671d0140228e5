"""What the machine uses beyond CPU and memory: swap, page faults, networks, processes. Read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.kubelet.proc import PROC, interfaces, max_processes, meminfo, processes, table
from services.kubelet.runtime.usage import NetworkUse

# Interfaces that are not the node's own: of pods, and the way to itself.
NOT_OWN = ("lo", "veth", "docker", "br-", "cni", "cbr", "kn-", "ifb")


@dataclass(frozen=True, slots=True)
class MachineUse:
    """Of the whole machine; amounts in bytes, counts since the boot."""

    memory_total: int = 0
    memory_available: int = 0
    memory_free: int = 0
    anonymous: int = 0
    swap_total: int = 0
    swap_free: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    processes: int = 0
    most_processes: int = 0
    booted_at: datetime | None = None
    networks: tuple[NetworkUse, ...] = ()


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Of a file system."""

    capacity: int
    available: int
    used: int
    inodes: int
    inodes_free: int


def read_machine_use(proc: Path = PROC) -> MachineUse:
    """Now. Raises OSError, ValueError or KeyError where the kernel does not say."""
    memory, faults = meminfo(proc), table(proc / "vmstat")
    booted = next((line.split()[1] for line in (proc / "stat").read_text().splitlines() if line.startswith("btime ")), "")
    return MachineUse(
        memory_total=memory["MemTotal"],
        memory_available=memory["MemAvailable"],
        memory_free=memory["MemFree"],
        anonymous=memory.get("AnonPages", 0),
        swap_total=memory.get("SwapTotal", 0),
        swap_free=memory.get("SwapFree", 0),
        page_faults=faults.get("pgfault", 0),
        major_page_faults=faults.get("pgmajfault", 0),
        processes=processes(proc),
        most_processes=max_processes(proc),
        booted_at=datetime.fromtimestamp(int(booted), UTC) if booted else None,
        networks=networks((proc / "net/dev").read_text()),
    )


def networks(text: str) -> tuple[NetworkUse, ...]:
    """The node's own interfaces in the words of /proc/net/dev."""
    return tuple(NetworkUse(name, *figures) for name, figures in interfaces(text) if not name.startswith(NOT_OWN))


def read_disk_use(path: Path) -> DiskUse:
    """Of the file system that ``path`` lies on. Raises OSError."""
    found = os.statvfs(path)
    size = found.f_frsize
    used = (found.f_blocks - found.f_bfree) * size
    return DiskUse(found.f_blocks * size, found.f_bavail * size, used, found.f_files, found.f_ffree)
