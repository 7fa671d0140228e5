"""What the control group of a pod is held to, by all that is known of it. Pure."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.cgroups.values import GroupLimits, of_pod
from services.kubelet.pod.facts import PodFacts


def group_limits(pod: core.Pod, facts: PodFacts) -> GroupLimits:
    """As it was granted."""
    return of_pod(pod, alone=bool(facts.cpus.alone), swap_bytes=facts.swap.of_pod(pod))
