"""What a pod's containers take while they are resized: its node may not have given them yet what is asked for, or not taken it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects.conditions import get_condition

PENDING, INFEASIBLE = "PodResizePending", "Infeasible"

# Several that count at once: of each resource the largest amount.
Held = Sequence[Mapping[str, meta.Quantity]]


def held_by(pod: core.Pod) -> Callable[[core.Container], Held]:
    """By container: what it asks for, unless its node can never give it that, what it has and what it was granted."""
    statuses = {status.name: status for status in (*pod.status.container_statuses, *pod.status.init_container_statuses)}
    pending = get_condition(pod.status, PENDING)
    infeasible = pending is not None and pending.reason == INFEASIBLE

    def held(container: core.Container) -> Held:
        status = statuses.get(container.name)
        if status is None:
            return (container.resources.requests,)
        found = (status.resources.requests, status.allocated_resources)
        return found if infeasible and status.HasField("resources") else (container.resources.requests, *found)

    return held
