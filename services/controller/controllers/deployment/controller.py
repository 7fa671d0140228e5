"""Deployment: rolls its pods from one template to the next, through ReplicaSets."""

from __future__ import annotations

import contextlib
import logging

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, NotFound, StatusError
from knarr.machinery.selectors import label_selector
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of
from knarr.objects.owners import controller_of, is_controlled_by
from knarr.objects.pods import is_finished
from services.controller.controller import Context, Controller
from services.controller.controllers.deployment.decide import Action, CreateReplicaSet, DeleteReplicaSet, UpdateReplicaSet, decide
from services.controller.controllers.deployment.revision import REVISION
from services.controller.controllers.deployment.status import PROGRESSING, has_deadline, set_condition
from services.controller.controllers.deployment.template import canonical, find_new
from services.controller.workloads.adoption import BY_CONTROLLER, settle_claims

logger = logging.getLogger(__name__)


class DeploymentController(Controller):
    name = "deployment"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._deployments = context.informers.get(apps.Deployment)
        self._sets = context.informers.get(apps.ReplicaSet)
        self._pods = context.informers.get(core.Pod)
        self._pods.add_index(BY_CONTROLLER)
        self._deployments.on_change(self._deployment_changed)
        self._sets.on_change(self._set_changed)
        self._pods.on_change(self._pod_changed)

    # Handlers: from a change to keys.

    def _deployment_changed(self, old: apps.Deployment | None, new: apps.Deployment | None) -> None:
        changed = new if new is not None else old
        if changed is not None:
            self.queue.enqueue(key_of(changed))

    def _set_changed(self, old: apps.ReplicaSet | None, new: apps.ReplicaSet | None) -> None:
        for replica_set in (old, new):
            owner = None if replica_set is None else _owner_key(replica_set)
            if owner is not None:
                self.queue.enqueue(owner)
        if new is not None and controller_of(new) is None:
            for deployment in self._deployments.store.list(new.metadata.namespace):
                if label_selector(deployment.spec.selector).matches(new.metadata.labels):
                    self.queue.enqueue(key_of(deployment))

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """Only Recreate waits for pods, and only for their end."""
        gone = new is None or (is_finished(new) and old is not None and not is_finished(old))
        pod = old if old is not None else new
        ref = controller_of(pod) if gone and pod is not None else None
        if pod is None or ref is None or ref.kind != "ReplicaSet":
            return
        replica_set = self._sets.store.get(pod.metadata.namespace, ref.name)
        owner = None if replica_set is None else _owner_key(replica_set)
        if owner is not None:
            deployment = self._deployments.store.get(*owner)
            if deployment is not None and deployment.spec.strategy.type == "Recreate":
                self.queue.enqueue(owner)

    # Reconcile.

    async def reconcile(self, key: Key) -> Again | None:
        deployment = self._deployments.store.get(key.namespace, key.name)
        if deployment is None:
            return None
        sets = await settle_claims(self.client, deployment, self._sets.store.list(deployment.metadata.namespace))
        plan = decide(deployment, sets, old_pods_run=self._old_pods_run(deployment, sets), now=self.context.clock.now())
        for action in plan.actions:
            await self._act(deployment, action)
        current = deployment
        if plan.revision is not None:
            current = await self._annotate(current, plan.revision)
        await self._report(current, plan.status)
        # A moment later than the deadline, so that it is past for sure.
        return Again(plan.again_seconds + 0.05) if plan.again_seconds else None

    def _old_pods_run(self, deployment: apps.Deployment, sets: list[apps.ReplicaSet]) -> bool:
        if deployment.spec.strategy.type != "Recreate":
            return False
        new = find_new(deployment, sets)
        old = [rs for rs in sets if new is None or rs.metadata.uid != new.metadata.uid]
        if any(rs.status.replicas for rs in old):
            return True
        return any(not is_finished(pod) for rs in old for pod in self._pods.store.index(BY_CONTROLLER, rs.metadata.uid))

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
        self.context.recorder.event(deployment, "Warning", "ReplicaSetCreateError", message)
        if has_deadline(deployment):
            changed = copy_of(deployment)
            set_condition(changed.status, PROGRESSING, "False", "ReplicaSetCreateError", message, self.context.clock.now())
            await self._report(deployment, changed.status)

    async def _annotate(self, deployment: apps.Deployment, revision: str) -> apps.Deployment:
        changed = copy_of(deployment)
        changed.metadata.annotations[REVISION] = revision
        return await self.client.update(changed)

    async def _report(self, deployment: apps.Deployment, status: apps.DeploymentStatus) -> None:
        if status == deployment.status:
            return
        changed = copy_of(deployment)
        changed.status.CopyFrom(status)
        with contextlib.suppress(NotFound):
            await self.client.update(changed, subresource="status")

    def _tell_scaling(self, deployment: apps.Deployment, replica_set: apps.ReplicaSet, before: int) -> None:
        after = replica_set.spec.replicas
        if after != before:
            message = f"Scaled {'up' if after > before else 'down'} replica set {replica_set.metadata.name} from {before} to {after}"
            self.context.recorder.event(deployment, "Normal", "ScalingReplicaSet", message)


def _owner_key(replica_set: apps.ReplicaSet) -> Key | None:
    ref = controller_of(replica_set)
    return Key(replica_set.metadata.namespace, ref.name) if ref is not None and ref.kind == "Deployment" else None
