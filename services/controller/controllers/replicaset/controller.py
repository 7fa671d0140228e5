"""ReplicaSet: keeps as many pods as asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from knarr.machinery.selectors import label_selector
from knarr.objects.conditions import remove_condition, set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of
from knarr.objects.names import generated
from knarr.objects.owners import controller_of, owner_reference
from services.controller.controller import Context, Controller
from services.controller.controllers.replicaset.decide import Plan, decide
from services.controller.expectations import Expectations, created, deleted
from services.controller.workloads.adoption import BY_CONTROLLER, ORPHANS, settle_claims

logger = logging.getLogger(__name__)


class ReplicaSetController(Controller):
    name = "replicaset"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._expectations = Expectations()
        self._sets = context.informers.get(apps.ReplicaSet)
        self._pods = context.informers.get(core.Pod)
        self._pods.add_index(BY_CONTROLLER)
        self._pods.add_index(ORPHANS)
        self._sets.add_index(BY_CONTROLLER)
        self._sets.on_change(self._set_changed)
        self._pods.on_change(self._pod_changed)

    # Handlers: from a change to keys.

    def _set_changed(self, old: apps.ReplicaSet | None, new: apps.ReplicaSet | None) -> None:
        changed = new if new is not None else old
        if changed is None:
            return
        if new is None or (old is not None and old.metadata.uid != new.metadata.uid):
            self._expectations.forget(key_of(changed))
        self.queue.enqueue(key_of(changed))

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        for pod in (old, new):
            owner = None if pod is None else _owner_key(pod)
            if pod is None or owner is None:
                continue
            if pod is new:
                self._expectations.met(owner, created(pod.metadata.name))
            if new is None or pod.metadata.HasField("deletion_timestamp"):
                self._expectations.met(owner, deleted(pod.metadata.uid))
            self.queue.enqueue(owner)
        if new is not None and controller_of(new) is None and not new.metadata.HasField("deletion_timestamp"):
            self._enqueue_adopters(new)

    def _enqueue_adopters(self, orphan: core.Pod) -> None:
        for replica_set in self._sets.store.list(orphan.metadata.namespace):
            if label_selector(replica_set.spec.selector).matches(orphan.metadata.labels):
                self.queue.enqueue(key_of(replica_set))

    # Reconcile.

    async def reconcile(self, key: Key) -> Again | None:
        replica_set = self._sets.store.get(key.namespace, key.name)
        if replica_set is None:
            self._expectations.forget(key)
            return None
        pods = await self._claimed(replica_set)
        plan = decide(
            replica_set,
            pods,
            self._siblings(replica_set),
            now=self.context.clock.now(),
            burst=self.context.settings.burst_replicas,
            settled=self._expectations.open(key) == 0,
        )
        failure = await self._act(key, replica_set, plan)
        await self._report(replica_set, plan, failure)
        if failure is not None:
            raise failure
        # A little later than due, so that it is due for sure.
        return Again(plan.again_seconds + 0.01) if plan.again_seconds else None

    async def _claimed(self, replica_set: apps.ReplicaSet) -> list[core.Pod]:
        """The set's pods, after adopting matching orphans and releasing what matches no longer."""
        store = self._pods.store
        owned = store.index(BY_CONTROLLER, replica_set.metadata.uid)
        return await settle_claims(self.client, replica_set, [*owned, *store.index(ORPHANS, replica_set.metadata.namespace)])

    def _siblings(self, replica_set: apps.ReplicaSet) -> Iterable[core.Pod]:
        ref = controller_of(replica_set)
        sets = [replica_set] if ref is None else self._sets.store.index(BY_CONTROLLER, ref.uid)
        for sibling in sets:
            yield from self._pods.store.index(BY_CONTROLLER, sibling.metadata.uid)

    # Actions.

    async def _act(self, key: Key, replica_set: apps.ReplicaSet, plan: Plan) -> StatusError | None:
        if plan.create:
            return await _slow_start(plan.create, lambda: self._create_pod(key, replica_set))
        results = await asyncio.gather(*(self._delete_pod(key, replica_set, pod) for pod in plan.delete))
        return next((error for error in results if error is not None), None)

    async def _create_pod(self, key: Key, replica_set: apps.ReplicaSet) -> StatusError | None:
        pod = pod_from_template(replica_set)
        token = created(pod.metadata.name)
        self._expectations.expect(key, token)
        try:
            await self.client.create(pod)
        except BaseException as error:
            self._expectations.met(key, token)
            if not isinstance(error, StatusError):
                raise
            if not isinstance(error, AlreadyExists):
                self.context.recorder.event(replica_set, "Warning", "FailedCreate", f"Error creating: {error}")
            return error
        self.context.recorder.event(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {pod.metadata.name}")
        return None

    async def _delete_pod(self, key: Key, replica_set: apps.ReplicaSet, pod: core.Pod) -> StatusError | None:
        token = deleted(pod.metadata.uid)
        self._expectations.expect(key, token)
        try:
            await self.client.delete(core.Pod, pod.metadata.name, pod.metadata.namespace, uid=pod.metadata.uid)
        except BaseException as error:
            self._expectations.met(key, token)
            if not isinstance(error, StatusError):
                raise
            if isinstance(error, (NotFound, Conflict)):
                return None
            self.context.recorder.event(replica_set, "Warning", "FailedDelete", f"Error deleting: {error}")
            return error
        self.context.recorder.event(replica_set, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")
        return None

    async def _report(self, replica_set: apps.ReplicaSet, plan: Plan, failure: StatusError | None) -> None:
        status = plan.status
        set_failure(status, "FailedCreate" if plan.create else "FailedDelete", failure, self.context.clock.now())
        if status == replica_set.status:
            return
        changed = copy_of(replica_set)
        changed.status.CopyFrom(status)
        with contextlib.suppress(NotFound):
            await self._write_status(changed)

    async def _write_status(self, changed: apps.ReplicaSet) -> None:
        """The cache may not show yet what was written a moment ago: a conflict is settled on the object as it is now."""
        try:
            await self.client.update(changed, subresource="status")
        except Conflict:
            fresh = await self.client.get(apps.ReplicaSet, changed.metadata.name, changed.metadata.namespace)
            if fresh.metadata.uid != changed.metadata.uid:
                return
            fresh.status.CopyFrom(changed.status)
            await self.client.update(fresh, subresource="status")


def set_failure(status: apps.ReplicaSetStatus, reason: str, failure: StatusError | None, now: datetime) -> None:
    """Keeps the ReplicaFailure condition while creating or deleting fails."""
    if failure is None:
        remove_condition(status, "ReplicaFailure")
    else:
        set_condition(status, "ReplicaFailure", True, reason=reason, message=str(failure), now=now, message_counts=False)


def pod_from_template(replica_set: apps.ReplicaSet) -> core.Pod:
    """A new pod of this set, named here so that its arrival can be expected."""
    template = replica_set.spec.template
    pod = core.Pod(spec=template.spec)
    pod.metadata.labels.update(template.metadata.labels)
    pod.metadata.annotations.update(template.metadata.annotations)
    pod.metadata.finalizers.extend(template.metadata.finalizers)
    pod.metadata.namespace = replica_set.metadata.namespace
    pod.metadata.generate_name = f"{replica_set.metadata.name}-"
    pod.metadata.name = generated(pod.metadata.generate_name)
    pod.metadata.owner_references.append(owner_reference(replica_set))
    return pod


async def _slow_start(count: int, create: Callable[[], Awaitable[StatusError | None]]) -> StatusError | None:
    """Creates 1, then 2, 4, 8 … at once: a quota or a broken template costs one call, not hundreds."""
    batch = 1
    while count > 0:
        batch = min(batch, count)
        results = await asyncio.gather(*(create() for _ in range(batch)))
        failure = next((error for error in results if error is not None), None)
        if failure is not None:
            return failure
        count -= batch
        batch *= 2
    return None


def _owner_key(pod: core.Pod) -> Key | None:
    ref = controller_of(pod)
    return Key(pod.metadata.namespace, ref.name) if ref is not None and ref.kind == "ReplicaSet" else None
