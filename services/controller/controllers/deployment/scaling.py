"""Steps of a rollout on drafts of the ReplicaSets: how many pods each of them gets.

A draft carries the wanted ``spec.replicas`` and the observed ``status``. Nothing here creates or
deletes; ``decide`` compares drafts with what exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.machinery.times import to_datetime
from services.controller.controllers.deployment.limits import limits
from services.controller.controllers.deployment.revision import desired_replicas, max_replicas, set_sizes
from services.controller.controllers.deployment.template import oldest_first


def total(sets: Sequence[apps.ReplicaSet]) -> int:
    """The pods that the ReplicaSets ask for."""
    return sum(rs.spec.replicas for rs in sets)


def available(sets: Sequence[apps.ReplicaSet]) -> dict[str, int]:
    """Available pods by ReplicaSet, from the sets as they exist, before any step.

    A status from before the last change of size counts nothing: the set may have been emptied and filled again since, and the
    pods that it speaks of are gone.
    """
    return {rs.metadata.name: rs.status.available_replicas if is_reported(rs) else 0 for rs in sets}


def is_reported(replica_set: apps.ReplicaSet) -> bool:
    """Whether the status is of the size that the set has now."""
    return replica_set.status.observed_generation >= replica_set.metadata.generation


def scale(deployment: apps.Deployment, draft: apps.ReplicaSet, replicas: int) -> None:
    """Sizes a draft and notes the Deployment's size with it."""
    draft.spec.replicas = replicas
    set_sizes(draft, deployment.spec.replicas, deployment.spec.replicas + limits(deployment.spec).surge)


def size_of_new(deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet], new_replicas: int) -> int:
    """The new ReplicaSet's size: as far up as the surge allows; never above the Deployment's."""
    wanted = deployment.spec.replicas
    if deployment.spec.strategy.type != "RollingUpdate" or new_replicas >= wanted:
        return wanted
    room = wanted + limits(deployment.spec).surge - total(sets)
    return new_replicas if room <= 0 else new_replicas + min(room, wanted - new_replicas)


def grow_new(deployment: apps.Deployment, new: apps.ReplicaSet, old: Sequence[apps.ReplicaSet]) -> None:
    """Brings the new ReplicaSet as far up as the surge allows."""
    size = size_of_new(deployment, [new, *old], new.spec.replicas)
    if size != new.spec.replicas:
        scale(deployment, new, size)


def shrink_old(deployment: apps.Deployment, new: apps.ReplicaSet, old: Sequence[apps.ReplicaSet], available: Mapping[str, int]) -> None:
    """Takes old pods away: the unhealthy ones first, then as many as availability allows."""
    minimum = deployment.spec.replicas - limits(deployment.spec).unavailable
    new_unavailable = max(0, new.spec.replicas - available.get(new.metadata.name, 0))
    budget = total([new, *old]) - minimum - new_unavailable
    if budget <= 0:
        return
    for draft in oldest_first(old):
        unhealthy = draft.spec.replicas - available[draft.metadata.name] if is_reported(draft) else 0
        budget -= _shrink(deployment, draft, min(budget, unhealthy))
    budget = sum(available.values()) - minimum
    for draft in oldest_first(old):
        budget -= _shrink(deployment, draft, min(budget, draft.spec.replicas))


def _shrink(deployment: apps.Deployment, draft: apps.ReplicaSet, step: int) -> int:
    """Makes a draft smaller; answers by how much."""
    if step <= 0:
        return 0
    scale(deployment, draft, draft.spec.replicas - step)
    return step


def is_scaling(deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet]) -> bool:
    """Whether the Deployment's size changed since its ReplicaSets were sized."""
    sizes = [desired_replicas(rs) for rs in sets if rs.spec.replicas > 0]
    return any(size is not None and size != deployment.spec.replicas for size in sizes)


def rescale(deployment: apps.Deployment, new: apps.ReplicaSet | None, old: Sequence[apps.ReplicaSet]) -> None:
    """Follows a change of size without rolling: the one active ReplicaSet, or all in proportion."""
    wanted = deployment.spec.replicas
    sets = [*old, *([new] if new is not None else [])]
    active = [rs for rs in sets if rs.spec.replicas > 0]
    if len(active) <= 1:
        target = active[0] if active else new or (oldest_first(old)[-1] if old else None)
        if target is not None and (target.spec.replicas != wanted or desired_replicas(target) not in (None, wanted)):
            # Also where the size alone is right already: else it would be taken for one that follows for ever, and nothing be rolled out.
            scale(deployment, target, wanted)
    elif new is not None and _saturated(deployment, new):
        for draft in old:
            if draft.spec.replicas:
                scale(deployment, draft, 0)
    elif deployment.spec.strategy.type == "RollingUpdate":
        _rescale_in_proportion(deployment, active)


def _saturated(deployment: apps.Deployment, new: apps.ReplicaSet) -> bool:
    wanted = deployment.spec.replicas
    return desired_replicas(new) == wanted == new.spec.replicas == new.status.available_replicas


def _rescale_in_proportion(deployment: apps.Deployment, active: list[apps.ReplicaSet]) -> None:
    """Spreads the change over the ReplicaSets by their share, so that a rollout's risk stays as it was.

    Growing, the newer of two equally large ones comes first; shrinking, the older.
    """
    wanted, surge = deployment.spec.replicas, limits(deployment.spec).surge
    to_add = (wanted + surge if wanted > 0 else 0) - total(active)
    age = 1 if to_add > 0 else -1
    active.sort(key=lambda rs: (-rs.spec.replicas, -age * to_datetime(rs.metadata.creation_timestamp).timestamp(), rs.metadata.name))
    added = 0
    sizes = list[int]()
    for draft in active:
        share = _share(deployment, draft, wanted + surge)
        left = to_add - added
        share = 0 if not left else min(share, left) if to_add > 0 else max(share, left)
        added += share
        sizes.append(draft.spec.replicas + share)
    sizes[0] = max(0, sizes[0] + to_add - added)
    for draft, size in zip(active, sizes, strict=True):
        scale(deployment, draft, size)


def _share(deployment: apps.Deployment, draft: apps.ReplicaSet, maximum: int) -> int:
    """How far the draft grows (or shrinks, below zero) to keep its share of the Deployment."""
    if deployment.spec.replicas == 0:
        return -int(draft.spec.replicas)
    before = max_replicas(draft) or deployment.status.replicas or draft.spec.replicas
    return int(draft.spec.replicas * maximum / before + 0.5) - int(draft.spec.replicas)
