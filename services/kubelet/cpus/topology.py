"""The processors of a machine: which are threads of one core, which cores are in one socket, in one NUMA node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from services.kubelet.cpu_policy import CpuSet, parse_cpus

SYSTEM = Path("/sys/devices/system")


@dataclass(frozen=True, slots=True)
class Cpu:
    """One that the kernel schedules on. ``core`` is the first of the threads that share one."""

    id: int
    core: int
    socket: int = 0
    numa: int = 0


class Topology:
    """Of the processors that are online."""

    def __init__(self, cpus: Iterable[Cpu]) -> None:
        self._cpus = {cpu.id: cpu for cpu in cpus}
        self.all: CpuSet = frozenset(self._cpus)
        self.cores = self._grouped("core")
        self.sockets = self._grouped("socket")
        self.numa_nodes = self._grouped("numa")

    def __getitem__(self, cpu_id: int) -> Cpu:
        return self._cpus[cpu_id]

    @property
    def threads_per_core(self) -> int:
        """Where cores differ, what most of them come to, as Kubernetes counts."""
        return len(self._cpus) // len(self.cores) if self.cores else 1

    def siblings(self, cpus: Iterable[int]) -> CpuSet:
        """Those of the same cores, with themselves."""
        return frozenset(other for cpu in cpus for other in self.cores[self._cpus[cpu].core])

    def _grouped(self, name: str) -> dict[int, CpuSet]:
        found: dict[int, set[int]] = {}
        for cpu in sorted(self._cpus.values(), key=lambda cpu: cpu.id):
            found.setdefault(getattr(cpu, name), set()).add(cpu.id)
        return {key: frozenset(members) for key, members in sorted(found.items())}


def read_topology(system: Path = SYSTEM) -> Topology:
    """From the kernel's files below ``system``; raises OSError, and ValueError for what is not as the kernel writes it."""
    online = parse_cpus((system / "cpu" / "online").read_text())
    numa = {
        cpu: int(place.name.removeprefix("node"))
        for place in (system / "node").glob("node[0-9]*")
        for cpu in parse_cpus((place / "cpulist").read_text())
    }
    return Topology(_read_cpu(system / "cpu" / f"cpu{cpu}" / "topology", cpu, numa.get(cpu, 0)) for cpu in online)


def _read_cpu(place: Path, cpu: int, numa: int) -> Cpu:
    """A virtual machine may tell nothing of it: then each is a core of one socket."""
    if not place.is_dir():
        return Cpu(cpu, cpu, 0, numa)
    core = min(parse_cpus((place / "thread_siblings_list").read_text()))
    # Some processors have no sockets to tell of.
    return Cpu(cpu, core, max(int((place / "physical_package_id").read_text()), 0), numa)
