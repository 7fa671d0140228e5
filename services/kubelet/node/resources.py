"""What the node has and what pods may ask for, as quantities by resource. Pure."""

from __future__ import annotations

from services.kubelet.node.machine import Machine
from services.kubelet.node.view import NodeView
from services.kubelet.settings import KubeletSettings

# Of the disk, so that images and logs of the node itself have room.
ALLOCATABLE_DISK_SHARE = 0.9


def resources(settings: KubeletSettings, machine: Machine) -> dict[str, tuple[str, str]]:
    """Capacity and allocatable of what the kubelet itself counts."""
    return {
        "cpu": (str(machine.cpus), _milli(machine.cpus * 1000 - settings.reserved_cpu_milli)),
        "memory": (_ki(machine.memory_bytes), _ki(machine.memory_bytes - settings.reserved_memory_bytes)),
        "ephemeral-storage": (_ki(machine.disk_bytes), str(int(machine.disk_bytes * ALLOCATABLE_DISK_SHARE))),
        "pods": (str(settings.max_pods), str(settings.max_pods)),
    }


def node_view(settings: KubeletSettings, machine: Machine) -> NodeView:
    """What pods may learn of the node."""
    allocatable = {name: amount for name, (_, amount) in resources(settings, machine).items()}
    return NodeView(settings.node_name, settings.node_ip, allocatable, str(settings.folders), str(settings.data_dir.absolute()))


def _ki(amount: int) -> str:
    return f"{amount // 1024}Ki"


def _milli(amount: int) -> str:
    return str(amount // 1000) if amount % 1000 == 0 else f"{amount}m"
