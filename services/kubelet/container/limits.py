"""What a container may use of the machine, from its requests and limits. Pure."""

from __future__ import annotations

from dataclasses import replace

from knarr.machinery import quantity
from services.kubelet.container.inputs import ContainerInputs
from services.kubelet.container.oom import oom_score_adj
from services.kubelet.pod.resources import resource_limits
from services.kubelet.runtime.plan import Limits


def limits(inputs: ContainerInputs) -> Limits:
    """Those of the container's resources, and how soon the kernel ends it when memory is short."""
    node_memory_bytes = quantity.value(inputs.node.allocatable.get("memory", "0"))
    score = oom_score_adj(inputs.pod, inputs.spec, node_memory_bytes, inputs.lowest_oom_score)
    name, cpus = inputs.spec.name, inputs.cpus
    found = resource_limits(inputs.spec.resources, inputs.pod.spec, alone=name in cpus.alone)
    return replace(found, oom_score_adj=score, cpuset=cpus.of(name), swap_bytes=inputs.swap_bytes)
