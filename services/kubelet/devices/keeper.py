"""What drivers make ready of the claims that a node's pods have: once for all pods that share a claim, and undone after the last of them.

What is asked of a driver is on disk before it is asked (``records``). A call that failed, or of which nobody knows how it ended, is made
again; the contract has drivers take that. A kubelet that comes anew has claims made ready again before it begins with a pod, since what a
driver laid may not have outlived the machine's start; for pods that run already it asks nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.dra.v1 import plugin_pb2 as pb
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.client.client import Client
from knarr.machinery.errors import StatusError
from knarr.objects.devices import NotMadeYet, claim_name, is_allocated, is_reserved_for, strange
from services.kubelet.csi.client import DriverError
from services.kubelet.devices.drivers import DeviceDrivers
from services.kubelet.devices.records import ClaimRecord, Prepared, read_records, write_records
from services.kubelet.node.files import NodeFiles

log = logging.getLogger(__name__)


class DeviceClaims:
    """Of one node. ``folder`` is where the file lies that outlives the kubelet."""

    def __init__(self, client: Client, drivers: DeviceDrivers, folder: Path, files: NodeFiles) -> None:
        self._client, self._drivers, self._folder, self._files = client, drivers, folder, files
        # By the claims' uids; and which of them this kubelet has had made ready itself.
        self._records: dict[str, ClaimRecord] = {}
        self._ready: set[str] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._writing = asyncio.Lock()

    async def load(self) -> None:
        """Finds what a kubelet before this one has left. Raises OSError: without that file nothing may begin."""
        self._records = {record.uid: record for record in await self._files.call(read_records, self._folder)}

    def has(self, uid: str) -> bool:
        """Whether drivers have made devices ready for a pod, or may have."""
        return any(uid in record.pods for record in self._records.values())

    def users(self) -> Collection[str]:
        """The uids of all such pods."""
        return {uid for record in self._records.values() for uid in record.pods}

    async def prepare(self, pod: core.Pod, *, begun: bool) -> None:
        """Has all that the pod's claims have made ready; may be repeated. ``begun``: the pod runs. Raises DriverError, in Kubernetes'
        words, and OSError."""
        made = pod.status.extended_resource_claim_status.resource_claim_name
        names = {name for entry in pod.spec.resource_claims if (name := _name(pod, entry))} | ({made} if made else set())
        if not names or self._has_all(pod, names, begun=begun):
            return
        # Nothing is noted before all of it can be asked for: who asked for nothing has nothing to give back.
        claims = [await self._claim(pod, name) for name in sorted(names)]
        for driver in {driver for claim in claims for driver in _drivers_of(claim)}:
            self._drivers.get(driver)
        async with self._locked(claim.metadata.uid for claim in claims):
            for claim in claims:
                self._note(pod, claim)
            await self._keep()
            wanted = [self._records[claim.metadata.uid] for claim in claims if claim.metadata.uid not in self._ready]
            await self._make_ready(wanted)

    def _has_all(self, pod: core.Pod, names: Collection[str], *, begun: bool) -> bool:
        mine = [record for record in self._records.values() if pod.metadata.uid in record.pods and record.ready]
        return {record.name for record in mine if begun or record.uid in self._ready}.issuperset(names)

    async def _claim(self, pod: core.Pod, name: str) -> resource.ResourceClaim:
        """A claim that the pod may use. Raises DriverError."""
        try:
            claim = await self._client.get(resource.ResourceClaim, name, pod.metadata.namespace)
        except StatusError as error:
            raise DriverError(f"fetch ResourceClaim {name}: {error}") from error
        extended = name == pod.status.extended_resource_claim_status.resource_claim_name
        of_template = any(entry.resource_claim_template_name and _name(pod, entry) == name for entry in pod.spec.resource_claims)
        if (extended or of_template) and (words := strange(pod, claim)):
            raise DriverError(words)
        if not is_reserved_for(claim, pod):
            who, which = f"{pod.metadata.name} ({pod.metadata.uid})", f"{name} ({claim.metadata.uid})"
            raise DriverError(f"pod {who} is not allowed to use ResourceClaim {which}")
        if not is_allocated(claim):
            raise DriverError(f"ResourceClaim {name}: not allocated")
        return claim

    def _note(self, pod: core.Pod, claim: resource.ResourceClaim) -> None:
        meta, drivers = claim.metadata, _drivers_of(claim)
        known = self._records.get(meta.uid) or ClaimRecord(meta.uid, meta.namespace, meta.name, drivers, frozenset())
        self._records[meta.uid] = replace(known, pods=known.pods | {pod.metadata.uid})

    async def _make_ready(self, wanted: Collection[ClaimRecord]) -> None:
        found = defaultdict[str, list[Prepared]](list)
        for driver in sorted({driver for record in wanted for driver in record.drivers}):
            asked = [_told(record) for record in wanted if driver in record.drivers]
            for uid, devices in (await self._drivers.get(driver).prepare(asked)).items():
                found[uid] += [_prepared(driver, device) for device in devices]
        for record in wanted:
            self._records[record.uid] = replace(record, ready=True, devices=tuple(found[record.uid]))
        if wanted:
            await self._keep()
            self._ready |= {record.uid for record in wanted}

    def names(self, pod: core.Pod, spec: core.Container) -> tuple[str, ...]:
        """By which names the node's files of the container device interface have what a container gets. Raises DriverError for a claim that
        was not made ready."""
        entries = {entry.name: entry for entry in pod.spec.resource_claims}
        found: dict[str, None] = {}
        for used in spec.resources.claims:
            name = _name(pod, entries[used.name]) if used.name in entries else ""
            if name:
                found |= dict.fromkeys(self._record(pod, name).names(used.request))
        extended = pod.status.extended_resource_claim_status
        for one in extended.request_mappings:
            if one.container_name == spec.name:
                found |= dict.fromkeys(self._record(pod, extended.resource_claim_name).names(one.request_name))
        return tuple(found)

    def _record(self, pod: core.Pod, name: str) -> ClaimRecord:
        for record in self._records.values():
            if record.name == name and pod.metadata.uid in record.pods and record.ready:
                return record
        raise DriverError(f"unable to get information for ResourceClaim {name}")

    async def tear_down(self, uid: str) -> None:
        """Gives back what was made ready for a pod in which nothing runs any more, and for no other; may be repeated. Raises DriverError
        and OSError where one of its claims stays, once the others are given back."""
        if not self.has(uid):
            return
        async with self._locked(record.uid for record in self._of(uid)):
            last = [record for record in self._of(uid) if record.pods == {uid}]
            self._ready -= {record.uid for record in last}
            stays = await self._undo(last)
            for record in list(self._of(uid)):
                if record in last and record.uid not in stays:
                    del self._records[record.uid]
                elif record not in last:
                    self._records[record.uid] = record.without(uid)
            await self._keep()
        if stays:
            raise next(iter(stays.values()))

    async def _undo(self, records: Collection[ClaimRecord]) -> dict[str, DriverError]:
        """What stays, and why."""
        stays: dict[str, DriverError] = {}
        for name in sorted({driver for record in records for driver in record.drivers}):
            asked = [record for record in records if name in record.drivers]
            try:
                await self._drivers.get(name).unprepare([_told(record) for record in asked])
            except DriverError as error:
                stays |= dict.fromkeys((record.uid for record in asked), error)
        return stays

    def _of(self, uid: str) -> Iterator[ClaimRecord]:
        return (record for record in self._records.values() if uid in record.pods)

    async def _keep(self) -> None:
        async with self._writing:
            await self._files.call(write_records, self._folder, list(self._records.values()))

    @asynccontextmanager
    async def _locked(self, uids: Iterable[str]) -> AsyncIterator[None]:
        """All calls for one claim come one after the other. In their order, so that nobody waits for who waits for him."""
        async with AsyncExitStack() as held:
            for uid in sorted(set(uids)):
                await held.enter_async_context(self._locks.setdefault(uid, asyncio.Lock()))
            yield


class UnaskedDevices(DeviceClaims):
    """On a node whose containers are simulated, devices are, too: no driver is known or asked, and a pod has them at once."""

    async def load(self) -> None: ...

    async def prepare(self, pod: core.Pod, *, begun: bool) -> None: ...

    def names(self, pod: core.Pod, spec: core.Container) -> tuple[str, ...]:
        return ()


def _name(pod: core.Pod, entry: core.PodResourceClaim) -> str:
    """Empty where the pod needs none. Raises DriverError."""
    try:
        return claim_name(pod, entry)
    except NotMadeYet as error:
        raise DriverError(str(error)) from error


def _drivers_of(claim: resource.ResourceClaim) -> tuple[str, ...]:
    return tuple(sorted({result.driver for result in claim.status.allocation.devices.results}))


def _told(record: ClaimRecord) -> pb.Claim:
    return pb.Claim(namespace=record.namespace, uid=record.uid, name=record.name)


def _prepared(driver: str, device: pb.Device) -> Prepared:
    return Prepared(driver, device.pool_name, device.device_name, tuple(device.request_names), tuple(device.cdi_device_ids))
