"""What the node has and what pods may ask for, as quantities by resource. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from knarr.machinery.quantity import canonical
from knarr.objects.whole_pods import HUGE_PAGES
from services.kubelet.node.machine import Machine
from services.kubelet.node.view import HostSecurity, NodeView
from services.kubelet.settings import KubeletSettings
from services.kubelet.thresholds import MEMORY, NODEFS

# What is left for pods of a resource is less by what this threshold keeps free.
KEPT_FREE = {"memory": MEMORY, "ephemeral-storage": NODEFS}


def resources(settings: KubeletSettings, machine: Machine) -> dict[str, tuple[str, str]]:
    """Capacity and allocatable of what the kubelet itself counts: without what is reserved, what the hard thresholds keep free and, of
    the memory, what lies in huge pages."""
    pages = {f"{HUGE_PAGES}{canonical(f'{size // 1024}Ki')}": size * count for size, count in sorted(machine.huge_pages.items())}
    there = _there(settings, machine)
    memory = max(_left(settings, "memory", there["memory"]) - sum(pages.values()), 0)
    return {
        "cpu": (_milli(there["cpu"]), _milli(_left(settings, "cpu", there["cpu"]))),
        "memory": (_ki(there["memory"]), _ki(memory)),
        "ephemeral-storage": (_ki(machine.disk_bytes), str(_left(settings, "ephemeral-storage", machine.disk_bytes))),
        "pods": (str(settings.max_pods), str(settings.max_pods)),
        **{name: (_whole(amount), _whole(amount)) for name, amount in pages.items()},
    }


def capacity(settings: KubeletSettings, machine: Machine) -> tuple[dict[str, int], list[Mapping[str, int]]]:
    """What there is in whole units (milli-CPU, bytes, processes where some are reserved), and what is reserved of it."""
    there = _there(settings, machine)
    kept = [settings.kube_reserved, settings.system_reserved]
    if any("pid" in reserved for reserved in kept):
        there["pid"] = machine.max_pids
    return there, kept


def _there(settings: KubeletSettings, machine: Machine) -> dict[str, int]:
    """All of the machine, or what the node was told to have of it."""
    return {"cpu": machine.cpus * 1000, "memory": machine.memory_bytes, **settings.size}


def _left(settings: KubeletSettings, resource: str, capacity: int) -> int:
    """Never less than nothing, however much is reserved."""
    kept = [found.amount.of(capacity) for found in settings.thresholds if found.hard and found.signal == KEPT_FREE.get(resource)]
    return max(capacity - settings.kube_reserved.get(resource, 0) - settings.system_reserved.get(resource, 0) - sum(kept), 0)


def node_view(settings: KubeletSettings, machine: Machine) -> NodeView:
    """What pods may learn of the node."""
    allocatable = {name: amount for name, (_, amount) in resources(settings, machine).items()}
    root = str(settings.data_dir.absolute())
    host = HostSecurity(machine.app_armor, machine.selinux, settings.allowed_unsafe_sysctls)
    return NodeView(settings.node_name, settings.node_ip, allocatable, str(settings.folders), root, machine.recursive_read_only, host)


def _whole(amount: int) -> str:
    return canonical(f"{amount // 1024}Ki") if amount else "0"


def _ki(amount: int) -> str:
    return f"{amount // 1024}Ki"


def _milli(amount: int) -> str:
    return str(amount // 1000) if amount % 1000 == 0 else f"{amount}m"
