"""Device taint eviction: pods whose devices get a taint ``NoExecute`` go, at once or when they tolerate it no longer.

A key is a claim's. Whether a pod is to go is asked of the server: what is deleted must be the pod that the claim is kept for.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.client.events import NORMAL
from knarr.client.index import Index
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.devices import PODS, claim_names, taints_device
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.pods import is_finished
from services.controller.attempts import Attempts
from services.controller.controller import Context, Controller
from services.controller.controllers.devicetainteviction.decide import evicted_at
from services.controller.pods import tell_disruption

EVENT = "DeviceTaintManagerEviction"
# Reason and message of the condition DisruptionTarget.
TAINTED = ("DeletionByDeviceTaintManager", "Device Taint manager: deleting due to NoExecute taint")
# A rest of time too small for the clock to tell must not keep a worker spinning; and clocks are set.
SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.01, 3600.0


def _pools(claim: resource.ResourceClaim) -> Iterable[str]:
    return {f"{result.driver}/{result.pool}" for result in claim.status.allocation.devices.results}


def _pool(found: resource.ResourceSlice) -> Iterable[str]:
    return (f"{found.spec.driver}/{found.spec.pool.name}",)


CLAIMS_BY_POOL: Index[resource.ResourceClaim] = Index("pool", _pools)
SLICES_BY_POOL: Index[resource.ResourceSlice] = Index("pool", _pool)


class DeviceTaintEvictionController(Controller):
    name = "devicetainteviction"
    speaks_as = "device-taint-eviction"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # By claim, the pods that were going to be evicted later, by their uids.
        self._waiting: dict[Key, dict[str, Key]] = {}
        self._claims = self.watches(resource.ResourceClaim, CLAIMS_BY_POOL)
        self._slices = self.watches(resource.ResourceSlice, SLICES_BY_POOL, mapped=self._of_slice)
        self._rules = self.watches(resource.DeviceTaintRule, mapped=self._of_rule)
        # One that a claim was kept for before it had a node.
        self._pods = self.watches(core.Pod, mapped=lambda pod: (Key(pod.metadata.namespace, name) for name in claim_names(pod)))

    def _of_slice(self, found: resource.ResourceSlice) -> Iterable[Key]:
        return (key_of(claim) for pool in _pool(found) for claim in self._claims.index(CLAIMS_BY_POOL, pool))

    def _of_rule(self, rule: resource.DeviceTaintRule) -> Iterable[Key]:
        for claim in self._claims.list():
            if any(taints_device(rule, one.driver, one.pool, one.device) for one in claim.status.allocation.devices.results):
                yield key_of(claim)

    async def reconcile(self, key: Key) -> Again | None:
        claim, waited = self._claims.get(*key), self._waiting.pop(key, {})
        users = {one.uid: Key(key.namespace, one.name) for one in claim.status.reserved_for if _is_pod(one)} if claim is not None else {}
        at = self._evicted_at(claim) if claim is not None and users else None
        if at is None:
            await self._tell_cancelled(waited)
            return None
        left = (at - self.context.clock.now()).total_seconds()
        if left > 0:
            self._waiting[key] = users
            return Again(min(max(left, SHORTEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS))
        attempts = Attempts()
        for uid, named in users.items():
            pod = await self._pod(named, uid)
            if pod is not None and pod.spec.node_name:
                with attempts.about(pod):
                    await self._evict(pod)
        attempts.check()
        return None

    def _evicted_at(self, claim: resource.ResourceClaim) -> datetime | None:
        slices = [found for pool in _pools(claim) for found in self._slices.index(SLICES_BY_POOL, pool)]
        return evicted_at(claim, slices, self._rules.list())

    async def _evict(self, pod: core.Pod) -> None:
        key, uid = key_of(pod), pod.metadata.uid
        self.recorder.event(pod, NORMAL, EVENT, "Marking for deletion")
        try:
            await tell_disruption(self.client, pod, *TAINTED, self.context.clock.now())
            await self.client.delete(core.Pod, key.name, key.namespace, uid=uid)
        except Conflict:
            # Another one has its name by now, or it has changed: that is looked at again.
            if await self._pod(key, uid) is not None:
                raise

    async def _tell_cancelled(self, waited: dict[str, Key]) -> None:
        for uid, key in waited.items():
            if (pod := await self._pod(key, uid)) is not None:
                self.recorder.event(pod, NORMAL, EVENT, "Cancelling deletion")

    async def _pod(self, key: Key, uid: str) -> core.Pod | None:
        """The very pod, if it runs on."""
        try:
            pod = await self.client.get(core.Pod, key.name, key.namespace)
        except NotFound:
            return None
        return None if pod.metadata.uid != uid or is_deleting(pod) or is_finished(pod) else pod


def _is_pod(consumer: resource.ResourceClaimConsumerReference) -> bool:
    return not consumer.api_group and consumer.resource == PODS
