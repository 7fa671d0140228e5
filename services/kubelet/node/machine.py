"""Facts of the machine: processors, memory, disk, names. Read from /proc and /etc."""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
KIB = 1024
# Below these the node reports pressure.
MEMORY_EVICTION_BYTES = 100 << 20
DISK_EVICTION_SHARE = 0.10
PID_EVICTION_SHARE = 0.05


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


@dataclass(frozen=True, slots=True)
class Pressure:
    """Whether the machine runs short."""

    memory: bool = False
    disk: bool = False
    pids: bool = False


def read_machine(data_dir: Path) -> Machine:
    """Reads them from /proc, /sys and /etc; the disk is the one that ``data_dir`` lies on."""
    return Machine(
        cpus=os.cpu_count() or 1,
        memory_bytes=_meminfo().get("MemTotal", 0),
        disk_bytes=shutil.disk_usage(_existing(data_dir)).total,
        kernel=platform.release(),
        os_image=_os_image(),
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
        machine_id=_text("/etc/machine-id"),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        system_uuid=_text("/sys/class/dmi/id/product_uuid") or str(uuid.uuid5(uuid.NAMESPACE_DNS, platform.node())),
    )


def read_pressure(data_dir: Path) -> Pressure:
    """Reads it now, the disk's at ``data_dir``."""
    usage = shutil.disk_usage(_existing(data_dir))
    limit = int(_text("/proc/sys/kernel/pid_max") or 0)
    running = int(_text("/proc/loadavg").split()[3].partition("/")[2] or 0)
    return Pressure(
        memory=_meminfo().get("MemAvailable", MEMORY_EVICTION_BYTES) < MEMORY_EVICTION_BYTES,
        disk=usage.free < usage.total * DISK_EVICTION_SHARE,
        pids=bool(limit) and limit - running < limit * PID_EVICTION_SHARE,
    )


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.partition(":")[0]: int(line.split()[1]) * KIB for line in lines}


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
