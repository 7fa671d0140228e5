"""Facts of the machine: processors, memory, disk, names. Read from /proc and /etc."""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from knarr.service.architecture import own_architecture
from services.kubelet.node.mounts import can_set_attributes
from services.kubelet.proc import KIB, max_processes, meminfo


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while the kubelet runs."""

    cpus: int
    memory_bytes: int
    disk_bytes: int
    kernel: str
    os_image: str
    architecture: str
    machine_id: str
    boot_id: str
    system_uuid: str
    # Of each size in bytes, how many huge pages the kernel keeps.
    huge_pages: Mapping[int, int] = field(default_factory=dict)
    # What its kernel can: of mounts, and which of the modules for security are switched on.
    recursive_read_only: bool = False
    app_armor: bool = False
    selinux: bool = False
    swap_bytes: int = 0
    # Whether root here is somebody else on the machine.
    in_user_namespace: bool = False
    # Most processes there may be at once.
    max_pids: int = 0


@dataclass(frozen=True, slots=True)
class Pressure:
    """Whether the machine runs short."""

    memory: bool = False
    disk: bool = False
    pids: bool = False


def read_machine(data_dir: Path) -> Machine:
    """Reads them from /proc, /sys and /etc; the disk is the one that ``data_dir`` lies on."""
    memory = meminfo()
    return Machine(
        cpus=os.cpu_count() or 1,
        memory_bytes=memory.get("MemTotal", 0),
        disk_bytes=shutil.disk_usage(existing(data_dir)).total,
        kernel=platform.release(),
        os_image=_os_image(),
        architecture=own_architecture(),
        machine_id=_text("/etc/machine-id"),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        system_uuid=_text("/sys/class/dmi/id/product_uuid") or str(uuid.uuid5(uuid.NAMESPACE_DNS, platform.node())),
        huge_pages=read_huge_pages(),
        recursive_read_only=can_set_attributes(),
        app_armor=_text("/sys/module/apparmor/parameters/enabled") == "Y",
        selinux=Path("/sys/fs/selinux/enforce").exists(),
        swap_bytes=memory.get("SwapTotal", 0),
        in_user_namespace=is_mapped(_text("/proc/self/uid_map")),
        max_pids=max_processes(),
    )


def is_mapped(uid_map: str) -> bool:
    """Whether users are others outside, by what the kernel says of a process."""
    return bool(uid_map) and uid_map.split() != ["0", "0", str((1 << 32) - 1)]


def disk_trouble(folder: Path) -> str:
    """Why nothing can be written to a folder, if that is its file system's doing."""
    try:
        read_only = os.statvfs(existing(folder)).f_flag & os.ST_RDONLY
    except OSError as error:
        return f"the kubelet's folder {folder} cannot be looked at: {os.strerror(error.errno or 0).lower()}"
    return f"the kubelet's folder {folder} is on a file system that is read-only" if read_only else ""


def read_huge_pages(root: Path = Path("/sys/kernel/mm/hugepages")) -> dict[int, int]:
    """How many pages of each size in bytes there are; none where the kernel has no such pages."""
    found: dict[int, int] = {}
    for folder in root.glob("hugepages-*kB"):
        size = folder.name.removeprefix("hugepages-").removesuffix("kB")
        if size.isdigit():
            found[int(size) * KIB] = int(_text(str(folder / "nr_hugepages")) or 0)
    return found


def existing(path: Path) -> Path:
    """The nearest of a path and those above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip('"')
    return platform.system()


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
