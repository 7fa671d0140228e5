"""Nodes: what the provider knows of the machine behind a node."""

from __future__ import annotations

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.copies import copy_of
from knarr.objects.labels import REGION, ZONE
from knarr.objects.tolerations import UNINITIALIZED

INSTANCE_TYPE = "node.kubernetes.io/instance-type"


def described(node: core.Node, instance: cloud.Instance) -> core.Node:
    """The node with what is known of its machine, and no longer waiting. A provider id that it has stays."""
    changed = copy_of(node)
    changed.spec.provider_id = node.spec.provider_id or instance.provider_id
    known = {INSTANCE_TYPE: instance.instance_type, ZONE: instance.zone, REGION: instance.region, **instance.labels}
    changed.metadata.labels.update({name: value for name, value in known.items() if value})
    del changed.spec.taints[:]
    changed.spec.taints.extend(taint for taint in node.spec.taints if taint.key != UNINITIALIZED)
    return changed


def addressed(node: core.Node, instance: cloud.Instance) -> core.Node:
    """The node with its machine's addresses; a host name of its own stays if the provider tells of none."""
    if not instance.addresses:
        return node
    changed = copy_of(node)
    del changed.status.addresses[:]
    changed.status.addresses.extend(instance.addresses)
    if not any(address.type == "Hostname" for address in instance.addresses):
        changed.status.addresses.extend(address for address in node.status.addresses if address.type == "Hostname")
    return changed
