"""What is written before a pod is bound: its claims get their devices, and are kept for it; then the devices are waited for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.client.client import Client
from knarr.machinery.errors import TRANSIENT, AlreadyExists, Conflict, NotFound, StatusError
from knarr.machinery.times import to_time
from knarr.objects.conditions import get_condition, is_true
from knarr.objects.copies import copy_of
from knarr.objects.devices import EXTENDED_CLAIM, FINALIZER, is_allocated, is_reserved_for, reserve, take_back
from knarr.objects.keys import is_deleting
from knarr.objects.owners import is_controlled_by
from services.scheduler.plugin import Cluster
from services.scheduler.plugins.dynamicresources.extended import mappings
from services.scheduler.preparation import Preparation, Spoiled

FAILED = 'running PreBind plugin "DynamicResources": '
# So often somebody else may come first.
ATTEMPTS = 5


class DeviceBinding(Preparation):
    """``wanted`` are the pod's claims as they are to be: with devices, and kept for the pod."""

    timed_out = f"{FAILED}device binding timeout"

    def __init__(self, cluster: Cluster, pod: core.Pod, wanted: Sequence[resource.ResourceClaim], seconds: float) -> None:
        self._cluster, self._pod = cluster, pod
        self.seconds = seconds
        self._wanted = list(wanted)
        self._news = [claim for claim in wanted if self._is_news(claim)]
        self.writes: Sequence[Message] = self._news

    async def write(self, client: Client) -> Sequence[Message]:
        written = [await self._put(client, claim) for claim in self._news]
        for claim in self._wanted:
            if EXTENDED_CLAIM in claim.metadata.annotations:
                await self._note(client, claim)
        return written

    async def _note(self, client: Client, claim: resource.ResourceClaim) -> None:
        """Has the pod's status tell of the claim for its extended resources, by which its node finds that."""
        pod, known = self._pod.metadata, self._pod.status.extended_resource_claim_status
        if not is_controlled_by(claim, self._pod) or known.resource_claim_name == claim.metadata.name:
            return
        status = {"resourceClaimName": claim.metadata.name, "requestMappings": mappings(self._pod, claim)}
        patch = {"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": status}}
        await client.patch(core.Pod, pod.name, pod.namespace, patch=patch, subresource="status")

    def is_done(self) -> bool:
        return all(self._is_ready(claim) for claim in self._wanted)

    async def undo(self, client: Client) -> None:
        """Devices that could not be made ready are taken back: others may do. Those without conditions stay the pod's."""
        for wanted in self._wanted:
            if not any(result.binding_conditions for result in wanted.status.allocation.devices.results):
                continue
            try:
                live = await client.get(resource.ResourceClaim, wanted.metadata.name, wanted.metadata.namespace)
                if {consumer.uid for consumer in live.status.reserved_for} <= {self._pod.metadata.uid}:
                    take_back(live)
                    await client.update(live, subresource="status")
            except (NotFound, Conflict):
                continue

    def _is_news(self, claim: resource.ResourceClaim) -> bool:
        known = self._cluster.get(resource.ResourceClaim, claim.metadata.namespace, claim.metadata.name)
        return known is None or not is_reserved_for(known, self._pod)

    async def _put(self, client: Client, wanted: resource.ResourceClaim) -> resource.ResourceClaim:
        """The claim as it is then. Raises Spoiled where somebody else has disposed of it, StatusError where it cannot be written."""
        return await (self._give(client, wanted) if wanted.metadata.uid else self._make(client, wanted))

    async def _make(self, client: Client, wanted: resource.ResourceClaim) -> resource.ResourceClaim:
        """One for the pod's extended resources. Raises as ``_put``."""
        name, namespace = wanted.metadata.name, wanted.metadata.namespace
        bare = copy_of(wanted)
        bare.ClearField("status")
        try:
            live = await client.create(bare)
        except (AlreadyExists, *TRANSIENT) as error:
            # It may be there from a time before, or only the answer is lost.
            try:
                live = await client.get(resource.ResourceClaim, name, namespace)
            except NotFound:
                raise error from None
            if not is_controlled_by(live, self._pod):
                raise Spoiled(f"{FAILED}claim {namespace}/{name} is not the pod's, who would have one of that name") from None
            if live.spec != wanted.spec:
                await client.delete(resource.ResourceClaim, name, namespace, uid=live.metadata.uid)
                raise Spoiled(f"{FAILED}claim {namespace}/{name} was made for something else, and is deleted") from None
        placed = copy_of(wanted)
        placed.metadata.uid = live.metadata.uid
        written = await self._give(client, placed)
        self._wanted = [written if one is wanted else one for one in self._wanted]
        return written

    async def _give(self, client: Client, wanted: resource.ResourceClaim) -> resource.ResourceClaim:
        for attempt in range(ATTEMPTS):
            live = await client.get(resource.ResourceClaim, wanted.metadata.name, wanted.metadata.namespace)
            try:
                return await self._put_once(client, live, wanted)
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    async def _put_once(self, client: Client, live: resource.ResourceClaim, wanted: resource.ResourceClaim) -> resource.ResourceClaim:
        name = f"{wanted.metadata.namespace}/{wanted.metadata.name}"
        if live.metadata.uid != wanted.metadata.uid or is_deleting(live):
            raise Spoiled(f"{FAILED}claim {name} got deleted in the meantime")
        if is_reserved_for(live, self._pod):
            return live
        if is_allocated(live):
            if live.status.allocation != wanted.status.allocation:
                raise Spoiled(f"{FAILED}claim {name} got allocated elsewhere in the meantime")
        else:
            if FINALIZER not in live.metadata.finalizers:
                live.metadata.finalizers.append(FINALIZER)
                live = await client.update(live)
            live.status.allocation.CopyFrom(wanted.status.allocation)
        reserve(live, self._pod)
        try:
            return await client.update(live, subresource="status")
        except TRANSIENT as error:
            # Only the answer may be lost. Who took the devices for free would give them to another.
            return await self._written(client, wanted, error)

    async def _written(self, client: Client, wanted: resource.ResourceClaim, error: StatusError) -> resource.ResourceClaim:
        live = await client.get(resource.ResourceClaim, wanted.metadata.name, wanted.metadata.namespace)
        if live.metadata.uid == wanted.metadata.uid and is_reserved_for(live, self._pod):
            return live
        raise error

    def _is_ready(self, wanted: resource.ResourceClaim) -> bool:
        claim = self._cluster.get(resource.ResourceClaim, wanted.metadata.namespace, wanted.metadata.name)
        if claim is None or claim.metadata.uid != wanted.metadata.uid:
            raise Spoiled(f"{FAILED}claim {wanted.metadata.name} got deleted in the meantime")
        for result in claim.status.allocation.devices.results:
            if not result.binding_conditions:
                continue
            told = next((one for one in claim.status.devices if (one.driver, one.pool, one.device) == _id_of(result)), None)
            if told is None:
                return False
            for name in result.binding_failure_conditions:
                if is_true(told, name):
                    condition = get_condition(told, name)
                    assert condition is not None
                    words = f'reason={condition.reason}, message="{condition.message}"'
                    raise Spoiled(f"{FAILED}claim {claim.metadata.name} binding failed: {words}")
            if not all(is_true(told, name) for name in result.binding_conditions):
                return False
        return True


def _id_of(result: resource.DeviceRequestAllocationResult) -> tuple[str, str, str]:
    return result.driver, result.pool, result.device


def given(claim: resource.ResourceClaim, pod: core.Pod, found: resource.AllocationResult | None) -> resource.ResourceClaim:
    """The claim with devices, if it gets some, and kept for a pod."""
    made = copy_of(claim)
    if found is not None:
        if FINALIZER not in made.metadata.finalizers:
            made.metadata.finalizers.append(FINALIZER)
        made.status.allocation.CopyFrom(found)
        made.status.allocation.allocation_timestamp.CopyFrom(to_time(datetime.now(UTC)))
    if not is_reserved_for(made, pod):
        reserve(made, pod)
    return made


class Lost(Preparation):
    """What was found for a pod is not there any more."""

    writes: Sequence[Message] = ()
    seconds = 1.0

    def is_done(self) -> bool:
        raise Spoiled(f"{FAILED}claim allocation not found for node")
