"""The volumes of drivers that a node's pods have: staged once for the node, published to each pod, and all of it undone again.

What is done is on disk before a driver is asked (``records``), so that a kubelet that starts anew goes on where the one before it was cut
off. All calls for one volume come one after the other. A call that failed, or of which nobody knows how it ended, is made again; the
contract has drivers take that. Nothing below a mount is ever removed here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from weakref import WeakValueDictionary

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import node_pb2 as pb
from knarr.api.csi.v1 import volume_pb2 as csi
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.machinery.errors import Forbidden, NotFound
from knarr.objects.csi import attachment_name, is_attached_first, volume_id
from knarr.objects.keys import is_deleting
from services.kubelet.csi.client import RPC, DriverError
from services.kubelet.csi.drivers import Driver, Drivers
from services.kubelet.csi.growth import Growth
from services.kubelet.csi.places import Places
from services.kubelet.csi.records import Published, Records, Staged
from services.kubelet.csi.secrets import DriverSecrets
from services.kubelet.csi.volume import DriverVolume, VolumeKey, capability, check_lifecycle, is_given_to_group, pod_attributes
from services.kubelet.node.files import NodeFiles
from services.kubelet.node.in_use import VolumesInUse

log = logging.getLogger(__name__)

# How soon a pod's volumes are looked at again: to be published anew where their drivers ask for it, to be grown where they can.
LOOK_AGAIN = timedelta(seconds=60)
RETRY = Backoff(first_seconds=0.5, limit_seconds=60.0)


class NotYet(DriverError):
    """A volume is not attached so far: it is waited for."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A volume that is brought to a pod by a driver, by what its CSIDriver says, if there is one."""

    pod: core.Pod
    volume: DriverVolume
    driver: Driver
    rules: storage.CSIDriver | None
    capability: csi.VolumeCapability


class DriverMounts:
    """Of one node. ``load`` comes first."""

    def __init__(
        self,
        client: Client,
        node_name: str,
        places: Places,
        drivers: Drivers,
        in_use: VolumesInUse,
        secrets: DriverSecrets,
        growth: Growth,
        files: NodeFiles,
        clock: Clock,
    ) -> None:
        self._client, self._node, self._places, self._drivers, self._in_use = client, node_name, places, drivers, in_use
        self._secrets, self._growth, self._files, self._clock = secrets, growth, files, clock
        self._records = Records(places, node_name)
        self._locks: WeakValueDictionary[VolumeKey, asyncio.Lock] = WeakValueDictionary()
        # What the node has, what this kubelet has staged and published itself, and which pods have it, by uid and name.
        self._known: dict[VolumeKey, Staged] = {}
        self._staged: set[VolumeKey] = set()
        self._published: set[tuple[str, str]] = set()
        self._users: defaultdict[VolumeKey, set[tuple[str, str]]] = defaultdict(set)
        self._look_at: dict[str, datetime] = {}
        # Something may be without a pod; what is being taken from the node.
        self._unused = asyncio.Event()
        self._leaving: set[VolumeKey] = set()

    async def load(self) -> None:
        """Finds what a kubelet before this one has left."""
        staged, published = await self._files.call(lambda: (list(self._records.staged()), list(self._records.published())))
        self._known = {record.key: record for record in staged}
        for record in published:
            self._users[record.key].add((record.uid, record.name))
        self._in_use.add(*(volume_id(*record.key) for record in staged if record.attached))
        self._unused.set()

    def has(self, uid: str) -> bool:
        """Whether a pod has such volumes, or may have."""
        return any(uid == user for users in self._users.values() for user, _ in users)

    def renew_at(self, uid: str) -> datetime | None:
        """When a pod's volumes are to be looked at again; None: not by themselves."""
        return self._look_at.get(uid)

    def on_driver(self, listener: Callable[[], None]) -> None:
        """Hears of each driver that has come."""
        self._drivers.on_register(listener)

    async def wait_change(self, seconds: float) -> None:
        """Until a driver comes, or so long."""
        await self._drivers.wait_change(seconds)

    async def set_up(self, pod: core.Pod, volumes: Iterable[DriverVolume], group: int | None) -> list[Path]:
        """Brings the volumes to a pod whose directory is there; may be repeated. Answers where files are to be given to its group. Raises
        NotYet, DriverError, StatusError and OSError."""
        given: list[Path] = []
        self._look_at.pop(pod.metadata.uid, None)
        for volume in volumes:
            try:
                async with self._lock(volume.key):
                    if await self._set_up(pod, volume, group):
                        given.append(self._places.published(pod.metadata.uid, volume.name))
            except NotYet:
                raise
            except DriverError as error:
                raise DriverError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
        return given

    async def _set_up(self, pod: core.Pod, volume: DriverVolume, group: int | None) -> bool:
        driver, rules, uid = self._drivers.get(volume.driver), await self._rules(volume.driver), pod.metadata.uid
        check_lifecycle(volume, rules)
        self._users[volume.key].add((uid, volume.name))
        visit = Visit(pod, volume, driver, rules, capability(volume, driver.can, group))
        republished = rules is not None and rules.spec.requires_republish
        if (uid, volume.name) not in self._published or republished:
            await self._publish(visit, {} if volume.inline else await self._reach(visit))
        if not volume.inline and volume.has_grown and RPC.EXPAND_VOLUME in driver.can and not volume.read_only:
            await self._grow(visit)
        if republished or RPC.EXPAND_VOLUME in driver.can:
            self._look_at[uid] = self._clock.now() + LOOK_AGAIN
        return is_given_to_group(volume, driver.can, rules)

    async def _rules(self, driver: str) -> storage.CSIDriver | None:
        """What the cluster's administrator says of a driver, if anything."""
        try:
            return await self._client.get(storage.CSIDriver, driver)
        except NotFound:
            return None

    async def _reach(self, visit: Visit) -> dict[str, str]:
        """Has the volume attached and staged; answers what was told of it when it was attached."""
        volume, driver, attached = visit.volume, visit.driver, is_attached_first(visit.rules)
        record = Staged(volume.driver, volume.handle, attached)
        if self._known.get(volume.key) != record or volume.key not in self._staged:
            self._known[volume.key] = record
            await self._files.call(self._records.keep_staged, record)
        context = await self._attachment(volume) if attached else {}
        if RPC.STAGE_UNSTAGE_VOLUME in driver.can and volume.key not in self._staged:
            request = pb.NodeStageVolumeRequest(
                volume_id=volume.handle,
                publish_context=context,
                staging_target_path=driver.path(self._places.staged(*volume.key)),
                volume_capability=visit.capability,
                secrets=await self._secrets.read(volume.stage_secret),
                volume_context=volume.attributes,
            )
            await driver.client.stage(request)
            self._staged.add(volume.key)
        return context

    async def _attachment(self, volume: DriverVolume) -> dict[str, str]:
        """What was told when it was attached, which is the controller's to do. The Node says first that it is in use: from then on nobody
        begins to detach it. Where that has begun before, the Node says no longer to have it."""
        name = volume_id(*volume.key)
        self._in_use.add(name)
        try:
            await self._in_use.reported(name)
            node = await self._client.get(core.Node, self._node)
            found = await self._client.get(storage.VolumeAttachment, attachment_name(volume.handle, volume.driver, self._node))
        except (NotFound, Forbidden, TimeoutError) as error:
            raise NotYet(f"volume {volume.name} is not attached to node {self._node}") from error
        if is_deleting(found):
            raise DriverError("volume attachment is being deleted")
        if not found.status.attached and found.status.attach_error.message:
            raise DriverError(found.status.attach_error.message)
        if not found.status.attached or all(one.name != name for one in node.status.volumes_attached):
            raise NotYet(f"volume {volume.name} is not attached to node {self._node}")
        return dict(found.status.attachment_metadata)

    async def _publish(self, visit: Visit, context: dict[str, str]) -> None:
        pod, volume, driver, rules = visit.pod, visit.volume, visit.driver, visit.rules
        uid = pod.metadata.uid
        tokens, secrets = await self._secrets.tokens(pod, rules), await self._secrets.read(volume.publish_secret)
        attributes = {**volume.attributes, **pod_attributes(pod, volume, rules)}
        (secrets if rules is not None and rules.spec.service_account_token_in_secrets else attributes).update(tokens)
        attachment = "" if volume.inline else attachment_name(volume.handle, volume.driver, self._node)
        record = Published(uid, volume.name, volume.driver, volume.handle, volume.inline)
        await self._files.call(self._records.keep_published, record, attachment)
        request = pb.NodePublishVolumeRequest(
            volume_id=volume.handle,
            publish_context=context,
            staging_target_path=self._staging(visit),
            target_path=driver.path(self._places.published(uid, volume.name)),
            volume_capability=visit.capability,
            readonly=volume.read_only,
            secrets=secrets,
            volume_context=attributes,
        )
        await driver.client.publish(request)
        self._published.add((uid, volume.name))

    async def _grow(self, visit: Visit) -> None:
        pod, volume, driver = visit.pod, visit.volume, visit.driver
        request = pb.NodeExpandVolumeRequest(
            volume_id=volume.handle,
            volume_path=driver.path(self._places.published(pod.metadata.uid, volume.name)),
            capacity_range={"required_bytes": volume.size_bytes},
            staging_target_path=self._staging(visit),
            volume_capability=visit.capability,
            secrets=await self._secrets.read(volume.expand_secret),
        )
        await self._growth.grow(pod, volume, driver.client, request)

    def _staging(self, visit: Visit) -> str:
        """Where the driver has staged the volume; empty where it stages none."""
        staged = RPC.STAGE_UNSTAGE_VOLUME in visit.driver.can and not visit.volume.inline
        return visit.driver.path(self._places.staged(*visit.volume.key)) if staged else ""

    async def tear_down(self, uid: str) -> None:
        """Takes the volumes from a pod in which nothing runs any more; may be repeated. Raises DriverError and OSError where one of them
        stays, once the others are taken."""
        self._look_at.pop(uid, None)
        stay = dict[VolumeKey, DriverError | OSError]()
        for record in await self._files.call(self._records.of_pod, uid):
            try:
                async with self._lock(record.key):
                    await self._unpublish(record)
            except (DriverError, OSError) as error:
                stay[record.key] = error
        for key, users in list(self._users.items()):
            left = users if key in stay else {user for user in users if user[0] != uid}
            if left:
                self._users[key] = left
            else:
                del self._users[key]
        self._unused.set()
        if stay:
            raise next(iter(stay.values()))

    async def _unpublish(self, record: Published) -> None:
        driver = self._drivers.get(record.driver)
        target = driver.path(self._places.published(record.uid, record.name))
        self._published.discard((record.uid, record.name))
        await driver.client.unpublish(pb.NodeUnpublishVolumeRequest(volume_id=record.handle, target_path=target))
        await self._files.call(self._records.forget_published, record)

    async def run(self) -> None:
        """Takes from the node what no pod of it has any more, and waits for no volume with another. Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._unused.wait()
                self._unused.clear()
                for key in [key for key in self._known if not self._users.get(key) and key not in self._leaving]:
                    self._leaving.add(key)
                    group.create_task(self._leave(key), name=f"kubelet/volume/{key[1]}/gone")

    async def _leave(self, key: VolumeKey) -> None:
        """Until the volume is off the node, or a pod has it again."""
        failures = 0
        while not await self._released(key):
            failures += 1
            await self._drivers.wait_change(RETRY.delay(failures))
        self._leaving.discard(key)

    async def _released(self, key: VolumeKey) -> bool:
        """Answers False for a volume that is to be let go and cannot be now."""
        async with self._lock(key):
            if self._users.get(key) or key not in self._known:
                return True
            try:
                await self._release(key)
            except (DriverError, OSError) as error:
                log.warning("a volume stays on the node", extra={"driver": key[0], "volume": key[1], "error": str(error)})
                return False
            return True

    async def _release(self, key: VolumeKey) -> None:
        driver = self._drivers.get(key[0])
        self._staged.discard(key)
        if RPC.STAGE_UNSTAGE_VOLUME in driver.can:
            staged = driver.path(self._places.staged(*key))
            await driver.client.unstage(pb.NodeUnstageVolumeRequest(volume_id=key[1], staging_target_path=staged))
        await self._files.call(self._records.forget_staged, key)
        del self._known[key]
        self._in_use.discard(volume_id(*key))

    def _lock(self, key: VolumeKey) -> asyncio.Lock:
        found = self._locks.get(key)
        if found is None:
            found = self._locks[key] = asyncio.Lock()
        return found
