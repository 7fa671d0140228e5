"""StatefulSet: keeps pods that have a name, a place in the order and claims of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import ClassVar

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.client.controller import is_gone
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, Conflict, StatusError
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.owners import is_controlled_by
from services.controller.controller import Context
from services.controller.controllers.statefulset.decide import Facts, Make, Plan, decide
from services.controller.controllers.statefulset.identity import ordinal_of, revision_of
from services.controller.controllers.statefulset.status import Version, Versions, is_as_far
from services.controller.workloads.controller import WorkloadController, again
from services.controller.workloads.failures import FailedPods
from services.controller.workloads.history import history, settle_history, template_of, truncate
from services.controller.workloads.pods import PodWriter, Words, is_in_going_namespace, slow_start
from services.controller.workloads.status import report

# How long a pod that failed again is left before the next one is tried; the first is replaced at once.
BACKOFF = Backoff(first_seconds=1.0, limit_seconds=60.0)
# The label of a revision that has its hash.
HASH_LABEL = "controller.kubernetes.io/hash"
WORDS = Words(
    created="create Pod {pod} in StatefulSet {owner} successful",
    not_created="create Pod {pod} in StatefulSet {owner} failed error: {error}",
    deleted="delete Pod {pod} in StatefulSet {owner} successful",
    not_deleted="delete Pod {pod} in StatefulSet {owner} failed error: {error}",
)


class StatefulSetController(WorkloadController[apps.StatefulSet]):
    name = "statefulset"
    workload: ClassVar[type[Message]] = apps.StatefulSet
    counts_in_batches = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pods = self.owns(core.Pod)
        self.watches(core.Pod, mapped=self._of_its_name, when=is_gone)
        self._revisions = self.owns(apps.ControllerRevision)
        self._claims = self.watches(core.PersistentVolumeClaim, mapped=self._waiting_for, when=is_gone)
        self._failed = FailedPods(BACKOFF)
        self.hears(apps.StatefulSet, self._failed.forget_gone)
        self._writer = PodWriter(context.client, self.recorder, self.expectations, WORDS, drawn=False)

    def _only_counts(self, owner: Key, old: Message | None, new: Message | None) -> bool:
        """The others wait for how far a pod is: a node or an address alone gives nothing to do. What was awaited is no news either."""
        if not super()._only_counts(owner, old, new):
            return False
        return old is None or (isinstance(old, core.Pod) and isinstance(new, core.Pod) and is_as_far(old, new))

    def _awaits_more(self, owner: Key) -> bool:
        return True

    def _waiting_for(self, claim: core.PersistentVolumeClaim) -> Iterator[Key]:
        """A claim that is gone may be one that a pod needs, or that a pod must not be made with."""
        for stateful_set in self.workloads.list(claim.metadata.namespace):
            templates = stateful_set.spec.volume_claim_templates
            if any(claim.metadata.name.startswith(f"{found.metadata.name}-{stateful_set.metadata.name}-") for found in templates):
                yield key_of(stateful_set)

    def _of_its_name(self, pod: core.Pod) -> Iterator[Key]:
        """A pod that is gone may be one of another that had the name of one of the set's."""
        key = Key(pod.metadata.namespace, pod.metadata.name.rpartition("-")[0])
        if self.workloads.get(*key) is not None:
            yield key

    def _is_taken(self, stateful_set: apps.StatefulSet, name: str) -> bool:
        pod = self._pods.get(stateful_set.metadata.namespace, name)
        return pod is not None and not is_controlled_by(pod, stateful_set)

    async def sync(self, workload: apps.StatefulSet) -> Again | None:
        revisions = await self.claimed(workload, self._revisions)
        settled = self.is_settled(workload)
        pods = await self.claimed(workload, self._pods, lambda pod: ordinal_of(workload, pod) is not None)
        versions = await self._versions(workload, revisions)
        plan = decide(workload, self._facts(workload, pods, versions, settled))
        failure = await self._act(workload, plan)
        await report(self.client, workload, plan.status)
        if not is_deleting(workload):
            live = {versions.current.name, versions.update.name, *map(revision_of, pods)}
            await truncate(self.client, revisions, live, workload.spec.revision_history_limit)
        if failure is not None:
            raise failure
        return again(plan.again_seconds)

    def _facts(self, stateful_set: apps.StatefulSet, pods: Sequence[core.Pod], versions: Versions, settled: bool) -> Facts:
        key, generation, now = key_of(stateful_set), stateful_set.metadata.generation, asyncio.get_running_loop().time()
        return Facts(
            pods,
            versions,
            self.context.clock.now(),
            claims=lambda name: self._claims.get(key.namespace, name),
            is_taken=lambda name: self._is_taken(stateful_set, name),
            held=lambda ordinal: self._failed.held(key, generation, str(ordinal), now),
            burst=self.context.settings.burst_replicas,
            settled=settled,
        )

    async def _versions(self, stateful_set: apps.StatefulSet, revisions: list[apps.ControllerRevision]) -> Versions:
        status, template = stateful_set.status, stateful_set.spec.template
        if is_deleting(stateful_set):
            return Versions(Version(status.current_revision, template), Version(status.update_revision, template), status.collision_count)
        decided = history(stateful_set, revisions, HASH_LABEL)
        stored, collisions = await settle_history(self.client, stateful_set, decided, HASH_LABEL)
        update = Version(stored.metadata.name, template)
        current = next((found for found in revisions if found.metadata.name == status.current_revision), None)
        former = None if current is None else template_of(current)
        return Versions(update if former is None else Version(status.current_revision, former), update, collisions)

    # Actions.

    async def _act(self, stateful_set: apps.StatefulSet, plan: Plan) -> StatusError | None:
        """Answers the first error, which is told by an event already where it is one of a pod or a claim."""
        self._tell(stateful_set, plan)
        try:
            for claim in plan.claims:
                await self.client.update(claim)
            failure = await slow_start(plan.make, lambda item: self._make(stateful_set, item))
            for pod in plan.repair if failure is None else ():
                await self._repair(stateful_set, pod)
        except StatusError as error:
            return error
        if failure is not None:
            return None if is_in_going_namespace(failure) else failure
        for ordinal in plan.failed:
            now = asyncio.get_running_loop().time()
            self._failed.note(key_of(stateful_set), stateful_set.metadata.generation, str(ordinal), now)
        return await self._writer.delete(stateful_set, plan.delete)

    def _tell(self, stateful_set: apps.StatefulSet, plan: Plan) -> None:
        for pod, reason in plan.refused:
            words = WORDS.not_created.format(pod=pod.metadata.name, owner=stateful_set.metadata.name, error=reason)
            self.recorder.event(stateful_set, WARNING, "FailedCreate", words)
        for name in plan.conflicts:
            message = (
                f"PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a managing controller, "
                "the retention policy is ignored for this claim"
            )
            self.recorder.event(stateful_set, WARNING, "ConflictingController", message)

    async def _make(self, stateful_set: apps.StatefulSet, item: Make) -> StatusError | None:
        for claim in item.claims:
            failure = await self._make_claim(stateful_set, item.pod, claim)
            if failure is not None:
                return failure
        return None if item.exists else await self._writer.create(stateful_set, [item.pod])

    async def _make_claim(self, stateful_set: apps.StatefulSet, pod: core.Pod, claim: core.PersistentVolumeClaim) -> StatusError | None:
        name, event = claim.metadata.name, self.recorder.event
        try:
            await self.client.create(claim)
        except AlreadyExists:
            return None
        except StatusError as error:
            if is_in_going_namespace(error):
                return error
            message = f"create Claim {name} for Pod {pod.metadata.name} in StatefulSet {stateful_set.metadata.name} failed error: {error}"
            event(stateful_set, WARNING, "FailedCreate", message)
            return error
        message = f"create Claim {name} Pod {pod.metadata.name} in StatefulSet {stateful_set.metadata.name} success"
        event(stateful_set, NORMAL, "SuccessfulCreate", message)
        return None

    async def _repair(self, stateful_set: apps.StatefulSet, pod: core.Pod) -> None:
        words, event = f"update Pod {pod.metadata.name} in StatefulSet {stateful_set.metadata.name}", self.recorder.event
        try:
            await self.client.update(pod)
        except Conflict:
            raise
        except StatusError as error:
            event(stateful_set, WARNING, "FailedUpdate", f"{words} failed error: {error}")
            raise
        event(stateful_set, NORMAL, "SuccessfulUpdate", f"{words} successful")
