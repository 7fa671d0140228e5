"""Nodes and pods for the scheduler's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knarr.api.core.v1 import core_pb2 as core
from services.scheduler.plugins.plugin import Cluster


class NoServices(Cluster):
    """A cluster without Services."""

    def services(self, namespace: str) -> Sequence[core.Service]:
        return []


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "110", labels: Mapping[str, str] | None = None) -> core.Node:
    obj = core.Node()
    obj.metadata.name = name
    obj.metadata.labels.update({"kubernetes.io/hostname": name, **(labels or {})})
    for resource, amount in (("cpu", cpu), ("memory", memory), ("pods", pods)):
        obj.status.allocatable[resource].string = obj.status.capacity[resource].string = amount
    return obj


def pod(name: str, cpu: str = "", memory: str = "", namespace: str = "default", node_name: str = "", priority: int = 0) -> core.Pod:
    obj = core.Pod()
    obj.metadata.name, obj.metadata.namespace, obj.metadata.uid = name, namespace, f"uid-{namespace}-{name}"
    container = obj.spec.containers.add(name="main", image="busybox")
    for resource, amount in (("cpu", cpu), ("memory", memory)):
        if amount:
            container.resources.requests[resource].string = amount
    obj.spec.node_name = node_name
    if priority:
        obj.spec.priority = priority
    return obj
