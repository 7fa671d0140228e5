"""The Node's status, from what is known of machine, engine and network. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.version import GIT_VERSION
from knarr.objects.copies import copy_of
from services.kubelet.node.conditions import set_conditions
from services.kubelet.node.machine import Machine, Pressure
from services.kubelet.node.resources import resources
from services.kubelet.settings import EXTERNAL, KubeletSettings


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Everything the status is made from. Two are equal when they make the same, but for its times.

    ``engine_trouble`` makes the node NotReady in the engine's words, ``network_trouble`` says why pods get no addresses; both are empty
    when all is well.
    """

    settings: KubeletSettings
    machine: Machine
    runtime_version: str
    runtime_handlers: Sequence[str]
    engine_trouble: str
    network_trouble: str
    pressure: Pressure
    images: Sequence[core.ContainerImage]
    now: datetime = field(compare=False)
    volumes_in_use: Sequence[str] = ()
    # Whether containers can be kept from the groups that their images give their users.
    strict_groups: bool = True
    # Why the node takes no pods, beside engine and network; empty: it does.
    own_trouble: str = ""


def node_status(facts: NodeFacts, old: core.NodeStatus) -> core.NodeStatus:
    """The whole status. Extended resources, conditions of others, and what an external cloud provider wrote are kept from the old one."""
    settings, status = facts.settings, core.NodeStatus()
    extended = {name: (amount.string, amount.string) for name, amount in old.capacity.items() if "/" in name}
    for name, (capacity, allocatable) in (extended | resources(settings, facts.machine)).items():
        status.capacity[name].string = capacity
        status.allocatable[name].string = allocatable
    if settings.cloud_provider == EXTERNAL and old.addresses:
        status.addresses.extend(old.addresses)
    else:
        status.addresses.add(type="InternalIP", address=settings.node_ip)
        status.addresses.add(type="Hostname", address=settings.node_name)
    status.daemon_endpoints.kubelet_endpoint.port = settings.port
    status.node_info.CopyFrom(_node_info(facts))
    set_conditions(status, old, facts.pressure, facts.engine_trouble, facts.network_trouble, facts.now, facts.own_trouble)
    status.volumes_in_use.extend(facts.volumes_in_use)
    # The controller's, who attaches them.
    status.volumes_attached.extend(old.volumes_attached)
    status.images.extend(facts.images)
    status.runtime_handlers.extend(_handler(name, facts.machine) for name in ("", *facts.runtime_handlers))
    status.features.supplemental_groups_policy = facts.strict_groups
    return status


def _handler(name: str, machine: Machine) -> core.NodeRuntimeHandler:
    """What may run pods, the engine's default without a name. Pods get no user namespaces; mounts are the kubelet's own work."""
    features = {"recursive_read_only_mounts": machine.recursive_read_only, "user_namespaces": False}
    return core.NodeRuntimeHandler(name=name, features=features)


def _node_info(facts: NodeFacts) -> core.NodeSystemInfo:
    machine = facts.machine
    info = core.NodeSystemInfo(
        machine_id=machine.machine_id,
        system_uuid=machine.system_uuid,
        boot_id=machine.boot_id,
        kernel_version=machine.kernel,
        os_image=machine.os_image,
        container_runtime_version=facts.runtime_version,
        kubelet_version=GIT_VERSION,
        operating_system="linux",
        architecture=machine.architecture,
        running_in_user_namespace=machine.in_user_namespace,
    )
    if machine.swap_bytes:
        info.swap.capacity = machine.swap_bytes
    return info


def rebooted(before: core.NodeStatus, after: core.NodeStatus) -> str:
    """The boot of the machine where it is another than was told of before; empty: it is the same, or nothing was told."""
    old, new = before.node_info.boot_id, after.node_info.boot_id
    return str(new) if old and new != old else ""


def without_heartbeats(status: core.NodeStatus) -> core.NodeStatus:
    """For telling whether a status says anything new."""
    result = copy_of(status)
    for condition in result.conditions:
        condition.ClearField("last_heartbeat_time")
    return result
