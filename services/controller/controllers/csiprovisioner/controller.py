"""csiprovisioner: has drivers make a volume for each claim of their classes, and remove it with its claim.

A key with a namespace is a claim's, one without a volume's. What cannot be taken back – a driver that makes or removes a volume – is done
on what the server says, not on a copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import grpc

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.index import Index
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, BadRequest, Conflict, Forbidden, Invalid, NotFound
from knarr.objects.binding import BIND_COMPLETED, SELECTED_NODE
from knarr.objects.copies import copy_of
from knarr.objects.csi import source_of
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.volumes import storage_class_of
from services.controller.attachments import BY_VOLUME
from services.controller.controller import Context
from services.controller.controllers.csiprovisioner import decide
from services.controller.controllers.csiprovisioner.decide import CLAIM_KIND, CLONING, FINALIZER, IN_PROGRESS, Source, Wish
from services.controller.csi.capabilities import Refused
from services.controller.csi.controller import INFEASIBLE_SECONDS, DriverController
from services.controller.csi.driver import Abilities, Driver, DriverError
from services.controller.csi.secrets import contents, reference
from services.controller.csi.topology import Elsewhere, Places, requirement
from services.controller.protection import protect, release

# Until a volume that is attached still is looked at again, whatever is heard.
ATTACHED_SECONDS = 30.0
FAILED, FAILED_DELETE = "ProvisioningFailed", "VolumeFailedDelete"
ORPHAN = "{}: if driver {} has made volume {} for the claim, it stays there, and nobody will remove it"


def _sources(claim: core.PersistentVolumeClaim) -> Iterable[str]:
    """The claim that one which waits is copied from."""
    spec = claim.spec
    copies = CLAIM_KIND in (spec.data_source.kind, spec.data_source_ref.kind)
    return (
        (f"{claim.metadata.namespace}/{decide.source_name(claim)}",) if copies and BIND_COMPLETED not in claim.metadata.annotations else ()
    )


BY_SOURCE: Index[core.PersistentVolumeClaim] = Index("copied-from", _sources)
BY_STORAGE_CLASS: Index[core.PersistentVolumeClaim] = Index(
    "waits-for-class", lambda claim: () if BIND_COMPLETED in claim.metadata.annotations else (storage_class_of(claim),)
)


class CsiProvisionerController(DriverController):
    name = "csiprovisioner"
    speaks_as = "external-provisioner"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = self.hears(core.PersistentVolumeClaim, self._claim_changed, BY_SOURCE, BY_STORAGE_CLASS)
        self._volumes = self.hears(core.PersistentVolume, self._volume_changed)
        self._classes = self.hears(storage.StorageClass, self._class_changed)
        self._attachments = self.hears(storage.VolumeAttachment, self._attachment_changed, BY_VOLUME)
        self._nodes = self.reads(core.Node)
        self._places = self.reads(storage.CSINode)

    def _claim_changed(self, old: core.PersistentVolumeClaim | None, new: core.PersistentVolumeClaim | None) -> Iterable[Key]:
        if not self.context.drivers or (old is not None and new is not None and _counted(old) == _counted(new)):
            return
        for claim in (old, new):
            if claim is not None:
                yield key_of(claim)
                yield from map(Key.parse, _sources(claim))

    def _volume_changed(self, old: core.PersistentVolume | None, new: core.PersistentVolume | None) -> Iterable[Key]:
        for volume in (old, new):
            if volume is not None and decide.is_ours(volume, self.context.drivers):
                yield key_of(volume)
                yield Key(volume.spec.claim_ref.namespace, volume.spec.claim_ref.name)

    def _class_changed(self, old: storage.StorageClass | None, new: storage.StorageClass | None) -> Iterable[Key]:
        for found in (old, new):
            if found is not None and found.provisioner in self.context.drivers:
                yield from map(key_of, self._claims.index(BY_STORAGE_CLASS, found.metadata.name))

    def _attachment_changed(self, old: storage.VolumeAttachment | None, new: storage.VolumeAttachment | None) -> Iterable[Key]:
        if new is None and old is not None and old.spec.attacher in self.context.drivers:
            yield Key("", old.spec.source.persistent_volume_name)

    async def sync(self, key: Key) -> Again | None:
        with contextlib.suppress(NotFound):
            return await self._claim(key) if key.namespace else await self._volume(key)
        return None

    async def _claim(self, key: Key) -> Again | None:
        claim = self._claims.get(*key)
        if claim is None:
            return None
        if CLONING in claim.metadata.finalizers and not self._claims.index(BY_SOURCE, str(key)):
            await release(self.client, claim, CLONING)
            return None
        driver = self.driver(decide.driver_of(claim))
        if driver is None:
            return None
        if self._volumes.get("", decide.volume_name(claim)) is not None:
            # From here on the volume says what becomes of it.
            if decide.is_in_progress(claim):
                await release(self.client, claim, IN_PROGRESS)
            return None
        found = self._classes.get("", storage_class_of(claim))
        if found is not None and decide.is_wanted(claim, found):
            return await self._make(claim, found, driver)
        if found is None and is_deleting(claim) and decide.is_in_progress(claim):
            await self._give_up(claim, f'storageclass.storage.k8s.io "{storage_class_of(claim)}" not found')
        return None

    async def _give_up(self, claim: core.PersistentVolumeClaim, why: str) -> None:
        """Lets a claim go that is deleted, of which no driver can be asked any more whether it has a volume."""
        self.warn(claim, FAILED, ORPHAN.format(why, decide.driver_of(claim), decide.volume_name(claim)))
        await release(self.client, claim, IN_PROGRESS)

    async def _make(self, seen: core.PersistentVolumeClaim, found: storage.StorageClass, driver: Driver) -> Again | None:
        """Asks the driver, on what the server says of the claim: one that is bound by now, or gone, gets nothing."""
        claim = await self.client.get(core.PersistentVolumeClaim, seen.metadata.name, seen.metadata.namespace)
        if claim.metadata.uid != seen.metadata.uid or not decide.is_wanted(claim, found) or await self._is_there(decide.volume_name(claim)):
            return None
        try:
            abilities = await driver.abilities()
            decide.check(claim, abilities)
            wish = await self._wish(claim, found, abilities)
            asked = decide.request(wish)
            # What the object will refer to is looked at before there is anything to refer from it.
            decide.volume_object(wish, asked, pb.CreateVolumeResponse().volume)
        except Elsewhere as error:
            return await self._choose_anew(claim, str(error))
        except (Refused, DriverError) as error:
            if isinstance(error, Refused) and is_deleting(claim):
                await self._give_up(claim, str(error))
                return None
            self.warn(claim, FAILED, str(error))
            raise
        self.tell(claim, "Provisioning", f'External provisioner is provisioning volume for claim "{key_of(claim)}"')
        if not decide.is_in_progress(claim):
            marked = copy_of(claim)
            marked.metadata.finalizers.append(IN_PROGRESS)
            claim = await self.client.update(marked)
        return await self._create(claim, wish, asked, driver)

    async def _is_there(self, volume: str) -> bool:
        """Whether it was made and is not in the copy yet."""
        try:
            await self.client.get(core.PersistentVolume, volume)
        except NotFound:
            return False
        return True

    async def _wish(self, claim: core.PersistentVolumeClaim, found: storage.StorageClass, abilities: Abilities) -> Wish:
        """Raises Refused or Elsewhere."""
        selected = claim.metadata.annotations.get(SELECTED_NODE, "")
        where = None
        if abilities.topology:
            places = Places.of(self._nodes.list(), self._places.list())
            where = requirement(found.provisioner, found.allowed_topologies, selected, claim.metadata.name, places)
        attributes = None
        if name := claim.spec.volume_attributes_class_name:
            try:
                attributes = await self.client.get(storage.VolumeAttributesClass, name)
            except NotFound as error:
                raise Refused(str(error)) from error
        secrets = await contents(self.client, reference("provisioner-", found.parameters, decide.volume_name(claim), claim))
        return Wish(claim, found, abilities, where, await self._source(claim), attributes, secrets)

    async def _source(self, claim: core.PersistentVolumeClaim) -> Source | None:
        """What it is copied from, which stays there until it is copied."""
        if not decide.copies_claim(claim):
            return None
        source = self._claims.get(claim.metadata.namespace, decide.source_name(claim))
        if source is None:
            return Source()
        if CLONING not in source.metadata.finalizers and not is_deleting(source):
            await protect(self.client, source, CLONING)
        return Source(source, self._volumes.get("", source.spec.volume_name))

    async def _create(self, claim: core.PersistentVolumeClaim, wish: Wish, asked: pb.CreateVolumeRequest, driver: Driver) -> Again | None:
        try:
            answer = (await driver.create(asked)).volume
            if why := decide.misanswer(wish, asked, answer):
                await self._take_back(claim, asked, answer.volume_id, driver)
                raise Refused(why)
        except DriverError as error:
            return await self._failed(claim, wish, error)
        except Refused as error:
            self.warn(claim, FAILED, str(error))
            raise
        try:
            # One that is there already was made before a crash, or is not in the copy yet.
            with contextlib.suppress(AlreadyExists):
                await self.client.create(decide.volume_object(wish, asked, answer))
        except (Invalid, BadRequest, Forbidden) as error:
            words = f"Error creating provisioned PV object for claim {key_of(claim)}: {error}. Deleting the volume."
            self.warn(claim, FAILED, words)
            await self._take_back(claim, asked, answer.volume_id, driver)
            return Again(INFEASIBLE_SECONDS)
        self.tell(claim, "ProvisioningSucceeded", f"Successfully provisioned volume {asked.name}")
        return None

    async def _take_back(self, claim: core.PersistentVolumeClaim, asked: pb.CreateVolumeRequest, handle: str, driver: Driver) -> None:
        """Has a volume removed that was just made and cannot be used; a claim that is deleted waits for no other."""
        await driver.delete(pb.DeleteVolumeRequest(volume_id=handle, secrets=asked.secrets))
        if is_deleting(claim):
            await release(self.client, claim, IN_PROGRESS)

    async def _failed(self, claim: core.PersistentVolumeClaim, wish: Wish, error: DriverError) -> Again | None:
        if is_deleting(claim) and not error.is_uncertain:
            # Nothing was made, and nobody wants it any more.
            await release(self.client, claim, IN_PROGRESS)
            return None
        if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and wish.abilities.topology and SELECTED_NODE in claim.metadata.annotations:
            return await self._choose_anew(claim, str(error))
        if error.code is grpc.StatusCode.INVALID_ARGUMENT:
            self.warn(claim, FAILED, f"Volume provisioning failed with infeasible error. Retries will be delayed. {error}")
            return Again(INFEASIBLE_SECONDS)
        self.warn(claim, FAILED, str(error))
        raise error

    async def _choose_anew(self, claim: core.PersistentVolumeClaim, words: str) -> Again | None:
        """Lets the scheduler choose another node."""
        self.warn(claim, FAILED, words)
        changed = copy_of(claim)
        changed.metadata.annotations.pop(SELECTED_NODE, None)
        if changed == claim:
            return Again(INFEASIBLE_SECONDS)
        await self.client.update(changed)
        return None

    async def _volume(self, key: Key) -> Again | None:
        volume = self._volumes.get(*key)
        source = None if volume is None else source_of(volume)
        driver = None if source is None else self.driver(source.driver)
        if volume is None or driver is None or not decide.is_ours(volume, self.context.drivers):
            return None
        if (wanted := decide.wants_finalizer(volume)) is not None:
            await (protect if wanted else release)(self.client, volume, FINALIZER)
            return None
        if not decide.is_to_be_removed(volume):
            return None
        if nodes := self._attachments.index(BY_VOLUME, volume.metadata.name):
            self.warn(volume, FAILED_DELETE, f"persistentvolume {volume.metadata.name} is still attached to node {nodes[0].spec.node_name}")
            return Again(ATTACHED_SECONDS)
        # Somebody may have kept it for another claim since.
        live = await self.client.get(core.PersistentVolume, volume.metadata.name)
        if live.metadata.uid == volume.metadata.uid and decide.is_to_be_removed(live):
            await self._remove(live, driver)
        return None

    async def _remove(self, volume: core.PersistentVolume, driver: Driver) -> None:
        asked = pb.DeleteVolumeRequest(volume_id=volume.spec.persistent_volume_source.csi.volume_handle)
        name, namespace = (volume.metadata.annotations.get(key, "") for key in decide.DELETION_SECRET)
        # A Secret that is gone, often with the claim's namespace, holds up nothing: the driver says whether it needs it.
        with contextlib.suppress(Refused):
            asked.secrets.update(await contents(self.client, core.SecretReference(name=name, namespace=namespace)))
        try:
            await driver.delete(asked)
        except DriverError as error:
            self.warn(volume, FAILED_DELETE, str(error))
            raise
        if not is_deleting(volume):
            with contextlib.suppress(Conflict):
                await self.client.delete(core.PersistentVolume, volume.metadata.name, uid=volume.metadata.uid)
        live = await self.client.get(core.PersistentVolume, volume.metadata.name)
        if live.metadata.uid == volume.metadata.uid and FINALIZER in live.metadata.finalizers:
            await release(self.client, live, FINALIZER)


def _counted(claim: core.PersistentVolumeClaim) -> tuple[object, ...]:
    """What says whether a volume is to be made."""
    annotations, finalizers = dict(claim.metadata.annotations), list(claim.metadata.finalizers)
    return claim.metadata.uid, is_deleting(claim), annotations, finalizers, claim.spec.volume_name, storage_class_of(claim)
