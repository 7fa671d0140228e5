"""Deployment: from the wanted template and the ReplicaSets that exist to the next writes.

Works on drafts: copies of the ReplicaSets that the steps change. What differs from the original at
the end becomes an action, so the steps need no order among themselves beyond their own, and a
repeated decision on the same facts is the same decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.machinery.times import to_datetime
from knarr.objects.conditions import get_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.owners import owner_reference
from services.controller.controllers.deployment import scaling, status
from services.controller.controllers.deployment.revision import REVISION, carry_annotations, next_revision, revision_of
from services.controller.controllers.deployment.template import HASH_LABEL, find_new, template_hash


@dataclass(frozen=True, slots=True)
class CreateReplicaSet:
    replica_set: apps.ReplicaSet


@dataclass(frozen=True, slots=True)
class UpdateReplicaSet:
    """``replica_set`` is the new state; ``before`` the size it had."""

    replica_set: apps.ReplicaSet
    before: int


@dataclass(frozen=True, slots=True)
class DeleteReplicaSet:
    replica_set: apps.ReplicaSet


Action = CreateReplicaSet | UpdateReplicaSet | DeleteReplicaSet


@dataclass(frozen=True, slots=True)
class Plan:
    """``actions`` in order; ``revision`` the Deployment's annotation should have (None: as it is);
    the ``status`` to report; and after how many seconds time alone changes something (None: never)."""

    actions: Sequence[Action] = ()
    revision: str | None = None
    status: apps.DeploymentStatus = field(default_factory=apps.DeploymentStatus)
    again_seconds: float | None = None


class _Drafts:
    """The ReplicaSets of one Deployment as they are and as they shall be."""

    def __init__(self, deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet]) -> None:
        self.deployment = deployment
        self.found = sets
        self._before = {rs.metadata.name: rs for rs in sets}
        found_new = find_new(deployment, sets)
        self.new = copy_of(found_new) if found_new is not None else None
        self.old = [copy_of(rs) for rs in sets if found_new is None or rs.metadata.name != found_new.metadata.name]
        self.deleted: list[apps.ReplicaSet] = []

    def observed_new(self) -> apps.ReplicaSet | None:
        return self._before.get(self.new.metadata.name) if self.new is not None else None

    def all(self) -> list[apps.ReplicaSet]:
        return [*([self.new] if self.new is not None else []), *self.old]

    def actions(self) -> list[Action]:
        actions = list[Action]()
        for draft in self.all():
            before = self._before.get(draft.metadata.name)
            if before is None:
                actions.append(CreateReplicaSet(draft))
            elif draft != before:
                actions.append(UpdateReplicaSet(draft, before.spec.replicas))
        return actions + [DeleteReplicaSet(rs) for rs in self.deleted]


def decide(deployment: apps.Deployment, sets: Sequence[apps.ReplicaSet], *, old_pods_run: bool, now: datetime) -> Plan:
    """``sets`` are the Deployment's own; ``old_pods_run`` whether a pod of an old template still
    exists and is not finished (Recreate waits for those)."""
    drafts = _Drafts(deployment, sets)
    if is_deleting(deployment):
        return Plan(status=status.counted(deployment, drafts.observed_new(), sets, now))
    if deployment.spec.paused or scaling.is_scaling(deployment, sets):
        _follow_size(drafts)
        return _plan(drafts, now, rolling=False)
    if deployment.spec.strategy.type == "Recreate":
        _recreate(drafts, old_pods_run)
    else:
        _adopt_template(drafts)
        assert drafts.new is not None
        scaling.grow_new(deployment, drafts.new, drafts.old)
        scaling.shrink_old(deployment, drafts.new, drafts.old, scaling.available(sets))
    return _plan(drafts, now, rolling=True)


def _follow_size(drafts: _Drafts) -> None:
    """Paused, or the size changed in the middle of a rollout: no new template, only sizes."""
    _update_new(drafts)
    scaling.rescale(drafts.deployment, drafts.new, drafts.old)
    if drafts.deployment.spec.paused:
        _forget_history(drafts)


def _recreate(drafts: _Drafts, old_pods_run: bool) -> None:
    """All old pods go before the first new one comes."""
    active = [draft for draft in drafts.old if draft.spec.replicas]
    for draft in active:
        scaling.scale(drafts.deployment, draft, 0)
    if active or old_pods_run:
        _update_new(drafts)
        return
    _adopt_template(drafts)
    assert drafts.new is not None
    if drafts.new.spec.replicas != drafts.deployment.spec.replicas:
        scaling.scale(drafts.deployment, drafts.new, drafts.deployment.spec.replicas)


def _adopt_template(drafts: _Drafts) -> None:
    """Makes sure that a ReplicaSet with the wanted template exists and has the highest revision."""
    if drafts.new is None:
        drafts.new = _new_replica_set(drafts.deployment)
        scaling.scale(drafts.deployment, drafts.new, scaling.size_of_new(drafts.deployment, drafts.old, 0))
    _update_new(drafts)


def _update_new(drafts: _Drafts) -> None:
    """What the ReplicaSet of the wanted template, if it is there, has of the Deployment besides; its revision is the highest."""
    if drafts.new is not None:
        drafts.new.spec.min_ready_seconds = drafts.deployment.spec.min_ready_seconds
        carry_annotations(drafts.deployment, drafts.new, next_revision(drafts.old))


def _new_replica_set(deployment: apps.Deployment) -> apps.ReplicaSet:
    spec = deployment.spec
    name = template_hash(spec.template, deployment.status.collision_count)
    replica_set = apps.ReplicaSet()
    metadata = replica_set.metadata
    metadata.name, metadata.namespace = f"{deployment.metadata.name}-{name}", deployment.metadata.namespace
    metadata.labels.update(spec.template.metadata.labels)
    metadata.labels[HASH_LABEL] = name
    metadata.owner_references.append(owner_reference(deployment))
    replica_set.spec.replicas = 0
    replica_set.spec.selector.CopyFrom(spec.selector)
    replica_set.spec.selector.match_labels[HASH_LABEL] = name
    replica_set.spec.template.CopyFrom(spec.template)
    replica_set.spec.template.metadata.labels[HASH_LABEL] = name
    return replica_set


def _plan(drafts: _Drafts, now: datetime, *, rolling: bool) -> Plan:
    deployment, new = drafts.deployment, drafts.new
    found_new = drafts.observed_new()
    if rolling and status.is_complete(deployment, deployment.status):
        _forget_history(drafts)
    report = status.counted(deployment, found_new, drafts.found, now)
    status.set_pause(deployment, report, now)
    if rolling:
        _note_new(drafts, report, now)
        if found_new is not None or new is None:
            status.set_progress(deployment, report, new, now)
    status.set_replica_failure(report, found_new, drafts.found, now)
    return Plan(drafts.actions(), _revision(drafts), report, status.seconds_to_deadline(deployment, report, now))


def _note_new(drafts: _Drafts, report: apps.DeploymentStatus, now: datetime) -> None:
    """Progress begins with the new ReplicaSet: made now, or found."""
    new = drafts.new
    if new is None or not status.has_deadline(drafts.deployment):
        return
    if drafts.observed_new() is None:
        status.renew_progress(report, "NewReplicaSetCreated", f'Created new replica set "{new.metadata.name}"', now)
    elif get_condition(report, status.PROGRESSING) is None or _takes_over(drafts):
        status.renew_progress(report, "FoundNewReplicaSet", f'Found new replica set "{new.metadata.name}"', now)


def _takes_over(drafts: _Drafts) -> bool:
    """Whether an old ReplicaSet becomes the new one in this step: a rollback."""
    before = drafts.observed_new()
    return before is not None and drafts.new is not None and revision_of(before) != revision_of(drafts.new)


def _revision(drafts: _Drafts) -> str | None:
    if drafts.new is None or REVISION not in drafts.new.metadata.annotations:
        return None
    revision = drafts.new.metadata.annotations[REVISION]
    return revision if drafts.deployment.metadata.annotations.get(REVISION) != revision else None


def _forget_history(drafts: _Drafts) -> None:
    """Deletes the lowest revisions beyond revisionHistoryLimit, as far as they are empty."""
    spec = drafts.deployment.spec
    if not spec.HasField("revision_history_limit") or spec.revision_history_limit == status.NO_DEADLINE:
        return
    old = [draft for draft in drafts.old if not is_deleting(draft)]
    surplus = len(old) - spec.revision_history_limit
    old.sort(key=lambda rs: (revision_of(rs), to_datetime(rs.metadata.creation_timestamp)))
    for draft in old[: max(surplus, 0)]:
        seen = draft.metadata.generation <= draft.status.observed_generation
        if draft.spec.replicas == 0 and draft.status.replicas == 0 and seen:
            drafts.old.remove(draft)
            drafts.deleted.append(draft)
