"""What keeps as many pods of one template as asked for: ReplicaSets and ReplicationControllers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import StatusError
from knarr.objects.keys import Key, key_of
from knarr.objects.owners import controller_of
from services.controller.controller import Context
from services.controller.workloads.adoption import BY_CONTROLLER, ORPHANS
from services.controller.workloads.controller import WorkloadController, again
from services.controller.workloads.pods import PodWriter, pod_from_template
from services.controller.workloads.readings import Readings
from services.controller.workloads.replicas import Plan, Replica, Replicated, decide, reader
from services.controller.workloads.status import report, set_replica_failure

R = TypeVar("R", bound=Replicated)

# Whether a pod was the last one to be ready is looked up when no more than these were missing by the last count.
FEW = 32


class ReplicatedController(WorkloadController[R]):
    """A subclass names its kind."""

    counts_in_batches = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.reads(self.workload, BY_CONTROLLER)
        self._pods = self.owns(core.Pod)
        self._writer = PodWriter(context.client, self.recorder, self.expectations)
        # By workload, with what tells its spec, by which they are read. A thousand pods are counted several times a second.
        self._readings: dict[Key, tuple[tuple[str, int], Readings[core.Pod, Replica]]] = {}

    async def reconcile(self, key: Key) -> Again | None:
        if key not in self.workloads:
            self._readings.pop(key, None)
        return await super().reconcile(key)

    def _awaits_more(self, owner: Key) -> bool:
        workload = self.workloads.get(*owner)
        if workload is None or workload.spec.replicas - workload.status.ready_replicas > FEW:
            return workload is not None
        pods = self._pods.index(BY_CONTROLLER, workload.metadata.uid)
        return sum(replica.active and replica.ready for replica in self._read(workload, pods)) < workload.spec.replicas

    def _read(self, workload: R, pods: Iterable[core.Pod]) -> list[Replica]:
        """Pods as its replicas; those that did not change since are not read anew."""
        key, spec = key_of(workload), (workload.metadata.uid, workload.metadata.generation)
        known = self._readings.get(key)
        if known is None or known[0] != spec:
            known = self._readings[key] = spec, Readings(reader(workload))
        return known[1].of(pods)

    async def _replicas(self, workload: R) -> Sequence[Replica]:
        """Its own; claims are settled only where there is one that is not clear."""
        metadata = workload.metadata
        found = self._read(workload, self._pods.index(BY_CONTROLLER, metadata.uid))
        if all(replica.belongs for replica in found) and not self._pods.index(ORPHANS, metadata.namespace):
            return found
        return self._read(workload, await self.claimed(workload, self._pods))

    async def sync(self, workload: R) -> Again | None:
        settled = self.is_settled(workload)
        replicas = await self._replicas(workload)
        plan = decide(
            workload,
            replicas,
            self._siblings(workload),
            now=self.context.clock.now(),
            burst=self.context.settings.burst_replicas,
            settled=settled,
        )
        failure = await self._act(workload, plan)
        counted_again = (plan.create or plan.delete) and self._will_count(workload, len(replicas))
        if failure is None and counted_again and not _tells_of_a_loss(workload, plan):
            return again(plan.again_seconds)
        set_replica_failure(plan.status, "FailedCreate" if plan.create else "FailedDelete", failure, self.context.clock.now())
        await report(self.client, workload, plan.status, insist=True)
        if failure is not None:
            raise failure
        return again(plan.again_seconds)

    def _will_count(self, workload: R, before: int) -> bool:
        """Whether what was done is still to be seen, or was seen meanwhile: the pods are counted again then, and the count of ``before``
        is not worth a write.
        """
        return not self.is_settled(workload) or len(self._pods.index(BY_CONTROLLER, workload.metadata.uid)) != before

    def _siblings(self, workload: R) -> Iterable[core.Pod]:
        """The pods of all workloads of the kind that the same owner controls."""
        ref = controller_of(workload)
        workloads = [workload] if ref is None else self.workloads.index(BY_CONTROLLER, ref.uid)
        for sibling in workloads:
            yield from self._pods.index(BY_CONTROLLER, sibling.metadata.uid)

    async def _act(self, workload: R, plan: Plan) -> StatusError | None:
        if plan.create:
            pods = (pod_from_template(workload.spec.template, workload) for _ in range(plan.create))
            return await self._writer.create(workload, pods)
        return await self._writer.delete(workload, plan.delete)


def _tells_of_a_loss(workload: Replicated, plan: Plan) -> bool:
    """Whether fewer are ready than was told: that is written at once. Pods that come instead may be ready before all is counted again, and
    nobody would have heard that any were missing."""
    return bool(plan.status.ready_replicas < workload.status.ready_replicas)
