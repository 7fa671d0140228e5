"""What keeps as many pods of one template as asked for: ReplicaSets and ReplicationControllers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import StatusError
from knarr.objects.keys import Key
from knarr.objects.owners import controller_of
from knarr.objects.pods import is_active, is_ready
from services.controller.controller import Context
from services.controller.workloads.adoption import BY_CONTROLLER
from services.controller.workloads.controller import WorkloadController, again
from services.controller.workloads.pods import PodWriter, pod_from_template
from services.controller.workloads.replicas import Plan, Replicated, decide
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

    def _awaits_more(self, owner: Key) -> bool:
        workload = self.workloads.get(*owner)
        if workload is None or workload.spec.replicas - workload.status.ready_replicas > FEW:
            return workload is not None
        pods = self._pods.index(BY_CONTROLLER, workload.metadata.uid)
        return sum(1 for pod in pods if is_active(pod) and is_ready(pod)) < workload.spec.replicas

    async def sync(self, workload: R) -> Again | None:
        settled = self.is_settled(workload)
        pods = await self.claimed(workload, self._pods)
        plan = decide(
            workload,
            pods,
            self._siblings(workload),
            now=self.context.clock.now(),
            burst=self.context.settings.burst_replicas,
            settled=settled,
        )
        failure = await self._act(workload, plan)
        if failure is None and (plan.create or plan.delete) and self._will_count(workload, len(pods)):
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
