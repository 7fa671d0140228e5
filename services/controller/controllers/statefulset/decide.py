"""StatefulSet: from the pods and claims that exist to the next writes, in the order of the ordinals.

``OrderedReady`` makes one pod at a time, each when all below it are available, and takes one away at a time, from above. ``Parallel``
makes and takes away all at once. Both replace pods of another revision from above, no more at a time than may be unavailable.
Specified in Kubernetes' documentation of StatefulSets; where this does more, docs/decisions/controllers.md says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.int_or_string import scaled_value
from knarr.objects.keys import is_deleting
from knarr.objects.pods import FAILED, PENDING, is_finished, seconds_until_available
from services.controller.controllers.statefulset.identity import (
    claim_templates,
    new_claim,
    new_pod,
    ordinal_of,
    ordinals,
    repaired,
    revision_of,
)
from services.controller.controllers.statefulset.retention import is_leaving, own_new, retention
from services.controller.controllers.statefulset.status import ROLLING_UPDATE, Version, Versions, counted, is_available


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when a StatefulSet is looked at.

    ``pods`` are its own, ``claims`` those of its namespace; a name ``is_taken`` when a pod that is not its own has it. ``held`` answers for
    how many seconds the pod of an ordinal that failed is still to be left alone. No more than ``burst`` pods are made and deleted at once.
    ``settled`` is False while own writes are still unseen: then nothing is written.
    """

    pods: Sequence[core.Pod]
    versions: Versions
    now: datetime
    claims: Callable[[str], core.PersistentVolumeClaim | None] = lambda name: None
    is_taken: Callable[[str], bool] = lambda name: False
    held: Callable[[int], float] = lambda ordinal: 0.0
    burst: int = 500
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Make:
    """The claims that a pod lacks, to be made before it, and the pod, unless it ``exists``."""

    pod: core.Pod
    claims: Sequence[core.PersistentVolumeClaim]
    exists: bool = False


@dataclass(slots=True)
class Plan:
    """Writes, to be made in this order: owners of claims, what is to be made, pods to be repaired, pods to be deleted.

    ``failed`` are the ordinals of those deleted pods that had failed. ``refused`` are pods that cannot be made now, each with the reason;
    ``conflicts`` the names of claims that another controller has. ``status`` is that of what was found; ``again_seconds`` after how long
    time alone changes something (None: never).
    """

    status: apps.StatefulSetStatus
    claims: list[core.PersistentVolumeClaim] = field(default_factory=list)
    make: list[Make] = field(default_factory=list)
    repair: list[core.Pod] = field(default_factory=list)
    delete: list[core.Pod] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    refused: list[tuple[core.Pod, str]] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    again_seconds: float | None = None

    def wait(self, seconds: float) -> None:
        """Has it looked at again by then."""
        self.again_seconds = seconds if self.again_seconds is None else min(self.again_seconds, seconds)


def decide(stateful_set: apps.StatefulSet, facts: Facts) -> Plan:
    plan = Plan(counted(stateful_set, facts.pods, facts.versions, facts.now))
    for pod in facts.pods if stateful_set.spec.min_ready_seconds else ():
        if seconds := seconds_until_available(pod, stateful_set.spec.min_ready_seconds, facts.now):
            plan.wait(seconds)
    if facts.settled and not is_deleting(stateful_set):
        _Step(stateful_set, facts, plan).take()
    return plan


class _Step:
    """One step towards what is wanted, written into a plan."""

    def __init__(self, stateful_set: apps.StatefulSet, facts: Facts, plan: Plan) -> None:
        self.set, self.spec, self.facts, self.plan = stateful_set, stateful_set.spec, facts, plan
        self.versions = facts.versions
        self.ordinals = ordinals(stateful_set)
        self.is_ordered = stateful_set.spec.pod_management_policy != "Parallel"
        by_ordinal = ((ordinal_of(stateful_set, pod), pod) for pod in facts.pods)
        self.pods = {ordinal: pod for ordinal, pod in by_ordinal if ordinal is not None}

    def take(self) -> None:
        for ordinal in self.ordinals:
            if self._is_full():
                return
            if self._keep(ordinal) and self.is_ordered:
                self._unblock(ordinal)
                return
        condemned = sorted((ordinal for ordinal in self.pods if ordinal not in self.ordinals), reverse=True)
        for ordinal in condemned:
            self._retain(self.pods[ordinal], ordinal, condemned=True)
        if condemned:
            self._remove(condemned)
        if self.spec.update_strategy.type == ROLLING_UPDATE and not (condemned and self.is_ordered):
            self._roll()
        del self.plan.delete[self.facts.burst :]

    def _is_full(self) -> bool:
        return len(self.plan.make) >= self.facts.burst or len(self.plan.delete) >= self.facts.burst

    # One pod of each ordinal.

    def _keep(self, ordinal: int) -> bool:
        """Sees to the pod of an ordinal; answers whether those after it have to wait for it."""
        pod = self.pods.get(ordinal)
        if pod is None:
            self._make(ordinal)
            return True
        if is_finished(pod):
            self._replace_finished(pod, ordinal)
            return True
        if pod.status.phase == PENDING and not is_deleting(pod) and (missing := self._missing(ordinal)):
            self.plan.make.append(Make(pod, missing, exists=True))
        if self.is_ordered and not self._is_available(pod):
            return True
        self._retain(pod, ordinal)
        if not is_deleting(pod) and (better := repaired(self.set, pod, ordinal)) is not None:
            self.plan.repair.append(better)
        return False

    def _replace_finished(self, pod: core.Pod, ordinal: int) -> None:
        """Whatever its exit code: what must run was stopped from outside. One that fails again and again is replaced ever more slowly."""
        if is_deleting(pod):
            return
        if seconds := self.facts.held(ordinal):
            self.plan.wait(seconds)
            return
        self.plan.delete.append(pod)
        if pod.status.phase == FAILED:
            self.plan.failed.append(ordinal)

    def _make(self, ordinal: int) -> None:
        version = self._version(ordinal)
        pod = new_pod(self.set, version.template, version.name, ordinal)
        if self.facts.is_taken(pod.metadata.name):
            self.plan.refused.append((pod, f'pods "{pod.metadata.name}" already exists'))
            return
        stored = self._claims(ordinal)
        if any(is_leaving(self.set, claim, pod) for claim in stored):
            return
        leaving = next((claim.metadata.name for claim in stored if is_deleting(claim)), None)
        if leaving is not None:
            self.plan.refused.append((pod, f"pvc {leaving} is being deleted"))
            return
        self._retain(pod, ordinal)
        self.plan.make.append(Make(pod, self._missing(ordinal)))

    def _version(self, ordinal: int) -> Version:
        """What the pod of an ordinal is made from: below the partition still what was current."""
        strategy = self.spec.update_strategy
        kept = strategy.rolling_update.partition if strategy.HasField("rolling_update") else self.set.status.current_replicas
        is_kept = strategy.type == ROLLING_UPDATE and ordinal < self.ordinals.start + kept
        return self.versions.current if is_kept else self.versions.update

    def _missing(self, ordinal: int) -> list[core.PersistentVolumeClaim]:
        wanted = claim_templates(self.set, ordinal)
        missing = [new_claim(self.set, template, ordinal) for name, template in wanted if self.facts.claims(name) is None]
        for claim in missing:
            own_new(self.set, claim)
        return missing

    def _claims(self, ordinal: int) -> list[core.PersistentVolumeClaim]:
        """Those of an ordinal's pod that there are."""
        found = (self.facts.claims(name) for name, _ in claim_templates(self.set, ordinal))
        return [claim for claim in found if claim is not None]

    def _retain(self, pod: core.Pod, ordinal: int, *, condemned: bool = False) -> None:
        for stored in self._claims(ordinal):
            decided = retention(self.set, stored, pod, condemned=condemned)
            if decided.claim is not None:
                self.plan.claims.append(decided.claim)
            if decided.conflicts and (decided.claim is not None or not pod.metadata.uid):
                self.plan.conflicts.append(stored.metadata.name)

    def _is_available(self, pod: core.Pod) -> bool:
        return is_available(pod, self.spec.min_ready_seconds, self.facts.now)

    # Pods that are too many.

    def _remove(self, condemned: Sequence[int]) -> None:
        """``condemned`` are ordinals, the highest first. In order one goes at a time, and one that is down is waited for while another is:
        not when it has ended, for then it will never be up again."""
        leaving = [pod for ordinal in condemned if not is_deleting(pod := self.pods[ordinal])]
        if not self.is_ordered:
            self.plan.delete += leaving
            return
        ended = next((pod for pod in leaving if is_finished(pod)), None)
        highest, *others = (self.pods[ordinal] for ordinal in condemned)
        if ended is not None:
            self.plan.delete.append(ended)
        elif not is_deleting(highest) and (self._is_available(highest) or all(map(self._is_available, others))):
            self.plan.delete.append(highest)

    # Pods of another revision.

    def _is_old(self, pod: core.Pod) -> bool:
        return revision_of(pod) != self.versions.update.name and not is_deleting(pod) and not is_finished(pod)

    def _roll(self) -> None:
        """From above, no more at a time than may be unavailable. What is down already costs nothing."""
        partition = self.spec.update_strategy.rolling_update.partition
        limit = self._max_unavailable()
        available = sum(1 for ordinal, pod in self.pods.items() if ordinal in self.ordinals and self._is_available(pod))
        room, spare = limit, limit - (len(self.ordinals) - available)
        for ordinal in reversed(self.ordinals[partition:]):
            if room <= 0:
                return
            pod = self.pods.get(ordinal)
            is_up = pod is not None and self._is_available(pod)
            if pod is None or not self._is_old(pod):
                room -= not is_up
                continue
            if is_up and spare <= 0:
                continue
            spare -= is_up
            room -= 1
            self.plan.delete.append(pod)

    def _max_unavailable(self) -> int:
        rolling = self.spec.update_strategy.rolling_update
        if not rolling.HasField("max_unavailable"):
            return 1
        return max(scaled_value(rolling.max_unavailable, self.spec.replicas, round_up=False), 1)

    def _unblock(self, ordinal: int) -> None:
        """Replaces the pod that all others wait for, when waiting for it is in vain: it is down, and to be replaced in any case.

        That is so when nobody asks for its revision any more, as after a rollback; and when it is the next of the current revision to be
        updated. One with others of it above may only be starting again: that is waited for.
        """
        pod = self.pods.get(ordinal)
        if pod is None or self.spec.update_strategy.type != ROLLING_UPDATE or not self._is_old(pod):
            return
        is_next = ordinal >= self.ordinals.start + self.spec.update_strategy.rolling_update.partition and all(
            self._is_out_of_the_way(other) for at, other in self.pods.items() if at > ordinal
        )
        if is_next or revision_of(pod) != self.versions.current.name:
            self.plan.delete.append(pod)

    def _is_out_of_the_way(self, pod: core.Pod) -> bool:
        """Of a pod above: whether it would not be updated before one of the current revision. It is updated and serves, or it is of a
        revision that nobody asks for any more."""
        if revision_of(pod) == self.versions.update.name:
            return self._is_available(pod)
        return revision_of(pod) != self.versions.current.name
