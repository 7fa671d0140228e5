"""Nodes and pods for the scheduler's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import key_of
from services.scheduler.nodes import Mask, Nodes
from services.scheduler.parts import Part, Subject
from services.scheduler.plugin import Cluster, M, Plugin
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import DefaultPreemptionArgs
from services.scheduler.profile import DEFAULT_SCHEDULER, Profile


class Objects(Cluster):
    """A cluster of these objects; of none without."""

    def __init__(self, *objects: Message) -> None:
        self.objects = objects

    def list(self, kind: type[M], namespace: str = "") -> Sequence[M]:
        return [obj for obj in self.objects if isinstance(obj, kind) and namespace in ("", key_of(obj).namespace)]

    def get(self, kind: type[M], namespace: str, name: str) -> M | None:
        return next((obj for obj in self.objects if isinstance(obj, kind) and key_of(obj) == (namespace, name)), None)


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


def profile_of(plugins: Sequence[Plugin]) -> Profile:
    """The default profile, of plugins that were made already."""
    scores = [(plugin, plugin.weight) for plugin in plugins if type(plugin).score is not Plugin.score]
    by_name = {plugin.name: plugin for plugin in plugins}
    return Profile(DEFAULT_SCHEDULER, plugins, scores, plugins, by_name, DefaultPreemptionArgs())


class NeedsTeam(Plugin):
    """Places pods of a namespace with a team only, on nodes whose kernel is known."""

    name: ClassVar[str] = "NeedsTeam"
    reads: ClassVar[frozenset[Part]] = frozenset({Part(Subject.NAMESPACE, "metadata.labels"), Part(Subject.NODE, "status.nodeInfo")})

    def filter(self, pod: PodFacts, nodes: Nodes) -> Mask | None:
        named = any("team" in found.metadata.labels for found in self.cluster.list(core.Namespace))
        known = [named and found is not None and bool(found.status.node_info.kernel_version) for found in nodes.nodes]
        return np.array(known, np.bool_)
