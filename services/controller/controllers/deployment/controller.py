"""Deployment: rolls its pods from one template to the next, through ReplicaSets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, StatusError
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of
from knarr.objects.owners import controller_key, is_controlled_by
from knarr.objects.pods import is_finished
from services.controller.controller import Context
from services.controller.controllers.deployment.decide import Action, CreateReplicaSet, DeleteReplicaSet, UpdateReplicaSet, decide
from services.controller.controllers.deployment.revision import REVISION
from services.controller.controllers.deployment.status import PROGRESSING, has_deadline, set_condition
from services.controller.controllers.deployment.template import canonical, find_new
from services.controller.workloads.adoption import BY_CONTROLLER
from services.controller.workloads.controller import GATHERED_SECONDS, WorkloadController
from services.controller.workloads.status import report


class DeploymentController(WorkloadController[apps.Deployment]):
    name = "deployment"
    workload: ClassVar[type[Message]] = apps.Deployment
    counts_in_batches = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sets = self.owns(apps.ReplicaSet)
        self._pods = self.watches(core.Pod, BY_CONTROLLER, mapped=self._waiting_for, when=_has_ended)

    def _waiting_for(self, pod: core.Pod) -> Iterator[Key]:
        """Only Recreate waits for pods, and only for their end."""
        set_key = controller_key(pod, apps.ReplicaSet)
        replica_set = None if set_key is None else self._sets.get(*set_key)
        key = None if replica_set is None else controller_key(replica_set, apps.Deployment)
        deployment = None if key is None else self.workloads.get(*key)
        if deployment is not None and deployment.spec.strategy.type == "Recreate":
            yield key_of(deployment)

    def _patience_seconds(self, owner: Key, old: Message | None, new: Message | None) -> float:
        """A ReplicaSet that was made has its pods counted in a moment."""
        return GATHERED_SECONDS if old is None and isinstance(new, apps.ReplicaSet) and not new.status.replicas else 0.0

    async def sync(self, workload: apps.Deployment) -> Again | None:
        sets = await self.claimed(workload, self._sets)
        plan = decide(workload, sets, old_pods_run=self._old_pods_run(workload, sets), now=self.context.clock.now())
        for action in plan.actions:
            await self._act(workload, action)
        current = workload
        if plan.revision is not None:
            current = await self._annotate(current, plan.revision)
        await report(self.client, current, plan.status)
        # A moment later than the deadline, so that it is past for sure.
        return Again(plan.again_seconds + 0.05) if plan.again_seconds else None

    def _old_pods_run(self, deployment: apps.Deployment, sets: list[apps.ReplicaSet]) -> bool:
        if deployment.spec.strategy.type != "Recreate":
            return False
        new = find_new(deployment, sets)
        old = [rs for rs in sets if new is None or rs.metadata.uid != new.metadata.uid]
        if any(rs.status.replicas for rs in old):
            return True
        return any(not is_finished(pod) for rs in old for pod in self._pods.index(BY_CONTROLLER, rs.metadata.uid))

    # Actions.

    async def _act(self, deployment: apps.Deployment, action: Action) -> None:
        match action:
            case CreateReplicaSet(replica_set):
                await self._create(deployment, replica_set)
            case UpdateReplicaSet(replica_set, before):
                await self.client.update(replica_set)
                self._tell_scaling(deployment, replica_set, before)
            case DeleteReplicaSet(replica_set):
                metadata = replica_set.metadata
                await self.client.delete(apps.ReplicaSet, metadata.name, metadata.namespace, uid=metadata.uid)

    async def _create(self, deployment: apps.Deployment, replica_set: apps.ReplicaSet) -> None:
        try:
            await self.client.create(replica_set)
        except AlreadyExists:
            await self._resolve_collision(deployment, replica_set)
            return
        except StatusError as error:
            await self._report_failed_create(deployment, replica_set, error)
            raise
        self._tell_scaling(deployment, replica_set, 0)

    async def _resolve_collision(self, deployment: apps.Deployment, replica_set: apps.ReplicaSet) -> None:
        """Another ReplicaSet has the name: ours (the cache is behind), or a collision of hashes."""
        live = await self.client.get(apps.ReplicaSet, replica_set.metadata.name, replica_set.metadata.namespace)
        if is_controlled_by(live, deployment) and canonical(live.spec.template) == canonical(deployment.spec.template):
            return
        changed = copy_of(deployment)
        changed.status.collision_count += 1
        await self.client.update(changed, subresource="status")
        raise RuntimeError(f"the name {replica_set.metadata.name} is taken; the next try uses another hash")

    async def _report_failed_create(self, deployment: apps.Deployment, replica_set: apps.ReplicaSet, error: StatusError) -> None:
        message = f'Failed to create new replica set "{replica_set.metadata.name}": {error}'
        self.recorder.event(deployment, WARNING, "ReplicaSetCreateError", message)
        if has_deadline(deployment):
            changed = copy_of(deployment)
            set_condition(changed.status, PROGRESSING, "False", "ReplicaSetCreateError", message, self.context.clock.now())
            await report(self.client, deployment, changed.status)

    async def _annotate(self, deployment: apps.Deployment, revision: str) -> apps.Deployment:
        changed = copy_of(deployment)
        changed.metadata.annotations[REVISION] = revision
        return await self.client.update(changed)

    def _tell_scaling(self, deployment: apps.Deployment, replica_set: apps.ReplicaSet, before: int) -> None:
        after = replica_set.spec.replicas
        if after != before:
            message = f"Scaled {'up' if after > before else 'down'} replica set {replica_set.metadata.name} from {before} to {after}"
            self.recorder.event(deployment, NORMAL, "ScalingReplicaSet", message)


def _has_ended(old: core.Pod | None, new: core.Pod | None) -> bool:
    """A pod went, or all of its containers ended for good."""
    return new is None or (is_finished(new) and old is not None and not is_finished(old))
