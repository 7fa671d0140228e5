"""What a container may use of the machine, from its requests and limits. Pure."""

from __future__ import annotations

from knarr.machinery import quantity
from services.kubelet.container.inputs import ContainerInputs
from services.kubelet.container.oom import oom_score_adj
from services.kubelet.runtime.plan import Limits

MIN_SHARES = 2
SHARES_PER_CPU = 1024
QUOTA_PERIOD_MICROS = 100_000
MIN_QUOTA_MICROS = 1000


def limits(inputs: ContainerInputs) -> Limits:
    """CPU shares by the request, or by the limit where there is none; quota and memory by the limits."""
    resources = inputs.spec.resources
    most = {name: resources.limits[name].string for name in resources.limits}
    asked = {name: resources.requests[name].string for name in resources.requests}
    node_memory_bytes = quantity.value(inputs.node.allocatable.get("memory", "0"))
    return Limits(
        cpu_shares=_shares(asked.get("cpu") or most.get("cpu") or "0"),
        cpu_quota_micros=_quota(most["cpu"]) if "cpu" in most else 0,
        memory_bytes=quantity.value(most["memory"]) if "memory" in most else 0,
        oom_score_adj=oom_score_adj(inputs.pod, inputs.spec, node_memory_bytes, inputs.lowest_oom_score),
    )


def _shares(cpu: str) -> int:
    return max(quantity.milli(cpu) * SHARES_PER_CPU // 1000, MIN_SHARES)


def _quota(cpu: str) -> int:
    return max(quantity.milli(cpu) * QUOTA_PERIOD_MICROS // 1000, MIN_QUOTA_MICROS)
