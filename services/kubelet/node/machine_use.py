"""What the machine uses beyond CPU and memory: swap, page faults, networks, processes. Read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.kubelet.runtime.port import NetworkUse

KIB = 1024
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


def read_machine_use(proc: Path = Path("/proc")) -> MachineUse:
    """Now. Raises OSError, ValueError where the kernel does not say."""
    memory = {name: int(words.split()[0]) * KIB for name, words in _pairs((proc / "meminfo").read_text(), ":")}
    faults = {name: int(words) for name, words in _pairs((proc / "vmstat").read_text(), " ")}
    booted = dict(_pairs((proc / "stat").read_text(), " ")).get("btime", "")
    return MachineUse(
        memory_total=memory["MemTotal"],
        memory_available=memory["MemAvailable"],
        memory_free=memory["MemFree"],
        anonymous=memory.get("AnonPages", 0),
        swap_total=memory.get("SwapTotal", 0),
        swap_free=memory.get("SwapFree", 0),
        page_faults=faults.get("pgfault", 0),
        major_page_faults=faults.get("pgmajfault", 0),
        processes=int((proc / "loadavg").read_text().split()[3].partition("/")[2]),
        most_processes=int((proc / "sys/kernel/pid_max").read_text()),
        booted_at=datetime.fromtimestamp(int(booted), UTC) if booted else None,
        networks=networks((proc / "net/dev").read_text()),
    )


def _pairs(text: str, separator: str) -> list[tuple[str, str]]:
    return [(name.strip(), words.strip()) for name, _, words in (line.partition(separator) for line in text.splitlines()) if words.strip()]


def networks(text: str) -> tuple[NetworkUse, ...]:
    """The node's own interfaces in the words of /proc/net/dev."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, words = line.partition(":")
        counts = [int(word) for word in words.split()]
        if len(counts) >= 16 and not name.strip().startswith(NOT_OWN):
            found.append(NetworkUse(name.strip(), *counts[:4], *counts[8:12]))
    return tuple(found)


def read_disk_use(path: Path) -> DiskUse:
    """Of the file system that ``path`` lies on. Raises OSError."""
    found = os.statvfs(path)
    size = found.f_frsize
    used = (found.f_blocks - found.f_bfree) * size
    return DiskUse(found.f_blocks * size, found.f_bavail * size, used, found.f_files, found.f_ffree)
