"""attachdetach: VolumeAttachments for the volumes of drivers that pods use, and what each Node is told to have.

A key without a namespace is a volume's: one reconcile decides about all its attachments, so no two nodes get a volume that is for one. A
key whose namespace is ``node`` is a Node's, whose ``status.volumesAttached`` is written there alone. A volume that is to be detached waits
until its Node is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.events import NORMAL, WARNING
from knarr.client.index import Index
from knarr.client.reconciler import Again
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound
from knarr.machinery.times import to_datetime
from knarr.objects.binding import is_fully_bound
from knarr.objects.conditions import is_true
from knarr.objects.copies import copy_of
from knarr.objects.csi import is_attached_first, source_of
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.volumes import uses_claim
from services.controller.attachments import BY_VOLUME, TO_NODE
from services.controller.controller import Context, Controller
from services.controller.controllers.attachdetach.decide import (
    ATTACH_SECONDS,
    FAILED,
    SUCCEEDED,
    Decision,
    Facts,
    decide,
    failure,
    success,
    volumes_attached,
    wants_its_volumes,
)
from services.controller.pods import BY_CLAIM, BY_NODE, claims_of

NODE = "node"


def _driver(volume: core.PersistentVolume) -> Iterable[str]:
    source = source_of(volume)
    return () if source is None else (source.driver,)


BY_DRIVER: Index[core.PersistentVolume] = Index("driver", _driver)


class AttachDetachController(Controller):
    name = "attachdetach"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._pods = self.hears(core.Pod, self._pod_changed, BY_CLAIM, BY_NODE)
        self._claims = self.hears(core.PersistentVolumeClaim, self._claim_changed)
        self._volumes = self.watches(core.PersistentVolume, BY_DRIVER, when=_is_drivers)
        self._nodes = self.hears(core.Node, self._node_changed)
        self._drivers = self.hears(storage.CSIDriver, self._driver_changed)
        self._attachments = self.hears(storage.VolumeAttachment, self._attachment_changed, BY_VOLUME, TO_NODE)
        # Since when nobody wants a volume on a node, in seconds of the loop.
        self._since: dict[str, dict[str, float]] = {}
        # What was said last of an attachment that is not there yet, by volume and uid; and to a pod that was refused, by volume.
        self._awaited: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._refused: dict[str, dict[str, str]] = {}
        # What was made and is not in the copy yet, by volume and uid: it counts, else a volume for one node would be given to two.
        self._made: defaultdict[str, dict[str, storage.VolumeAttachment]] = defaultdict(dict)

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> Iterable[Key]:
        if old is not None and new is not None and _place(old) == _place(new):
            return
        for pod in (old, new):
            if pod is not None and pod.spec.node_name:
                yield from self._volumes_of(pod)

    def _volumes_of(self, pod: core.Pod) -> Iterator[Key]:
        for key in claims_of(pod):
            claim = self._claims.get(*key)
            if claim is not None and claim.spec.volume_name:
                yield Key("", claim.spec.volume_name)

    def _claim_changed(self, old: core.PersistentVolumeClaim | None, new: core.PersistentVolumeClaim | None) -> Iterable[Key]:
        for claim in (old, new):
            if claim is not None and claim.spec.volume_name:
                yield Key("", claim.spec.volume_name)

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> Iterable[Key]:
        if old is not None and new is not None and _counted(old) == _counted(new):
            return
        for node in (old, new):
            if node is not None:
                yield Key(NODE, node.metadata.name)
                for found in self._attachments.index(TO_NODE, node.metadata.name):
                    yield Key("", found.spec.source.persistent_volume_name)
        if old is None and new is not None:
            for pod in self._pods.index(BY_NODE, new.metadata.name):
                yield from self._volumes_of(pod)

    def _driver_changed(self, old: storage.CSIDriver | None, new: storage.CSIDriver | None) -> Iterable[Key]:
        for driver in (old, new):
            if driver is not None:
                yield from map(key_of, self._volumes.index(BY_DRIVER, driver.metadata.name))

    def _attachment_changed(self, old: storage.VolumeAttachment | None, new: storage.VolumeAttachment | None) -> Iterable[Key]:
        for found in (old, new):
            if found is not None and found.spec.source.persistent_volume_name:
                self._made[found.spec.source.persistent_volume_name].pop(found.metadata.uid, None)
                yield Key("", found.spec.source.persistent_volume_name)
                yield Key(NODE, found.spec.node_name)

    async def reconcile(self, key: Key) -> Again | None:
        if key.namespace:
            await self._tell_node(key.name)
            return None
        return await self._sync_volume(key.name)

    async def _sync_volume(self, name: str) -> Again | None:
        await self._look_for_made(name)
        facts = self._facts(name)
        if facts.volume is None and facts.attachments and not await self._is_gone(name):
            # The copy is behind.
            return Again(1.0)
        decision = decide(facts)
        self._remember(name, decision)
        for node in decision.untold:
            self.queue.enqueue(Key(NODE, node))
        for pod, words in ((pod, refusal.words) for refusal in decision.refused for pod in refusal.pods):
            if self._refused.get(name, {}).get(pod.metadata.uid) != words:
                self.recorder.event(pod, WARNING, FAILED, words)
        self._refused[name] = {pod.metadata.uid: refusal.words for refusal in decision.refused for pod in refusal.pods}
        late = self._tell_of_attachments(facts)
        await self._write(decision)
        again = [seconds for seconds in (decision.look_again_seconds, late) if seconds is not None]
        if not facts.attachments and not facts.users:
            for kept in (self._since, self._awaited, self._refused, self._made):
                kept.pop(name, None)
        return Again(max(min(again), 0.1)) if again else None

    async def _write(self, decision: Decision) -> None:
        for found in decision.detach:
            # Another one of that name is somebody else's decision.
            with contextlib.suppress(NotFound, Conflict):
                await self.client.delete(storage.VolumeAttachment, found.metadata.name, uid=found.metadata.uid)
        for made in decision.attach:
            try:
                created = await self.client.create(made)
            except AlreadyExists:
                # It was made before a crash, or an answer was lost, and it is not in the copy yet.
                created = await self.client.get(storage.VolumeAttachment, made.metadata.name)
            volume, uid = created.spec.source.persistent_volume_name, created.metadata.uid
            self._awaited[volume][uid] = ""
            seen = self._attachments.get("", created.metadata.name)
            if seen is None or seen.metadata.uid != uid:
                self._made[volume][uid] = created

    async def _look_for_made(self, name: str) -> None:
        """Whether what was made is there still, which the copy does not say yet."""
        for uid, made in list(self._made[name].items()):
            try:
                live = await self.client.get(storage.VolumeAttachment, made.metadata.name)
            except NotFound:
                live = None
            if live is None or live.metadata.uid != uid:
                self._made[name].pop(uid, None)

    async def _tell_node(self, name: str) -> None:
        node = self._nodes.get("", name)
        if node is None:
            return
        attachments = self._attachments.index(TO_NODE, name)
        told = copy_of(node)
        del told.status.volumes_attached[:]
        volumes = {found.spec.source.persistent_volume_name for found in attachments}
        told.status.volumes_attached.extend(volumes_attached(name, attachments, {volume: self._facts(volume) for volume in volumes}))
        if told != node:
            with contextlib.suppress(NotFound):
                await self.client.update(told, subresource="status")

    def _facts(self, name: str) -> Facts:
        volume = self._volumes.get("", name)
        users = self._users(volume)
        attachments = [*self._attachments.index(BY_VOLUME, name), *self._made[name].values()]
        places = {*users, *(found.spec.node_name for found in attachments)}
        now = asyncio.get_running_loop().time()
        source = None if volume is None else source_of(volume)
        return Facts(
            name,
            volume,
            users,
            attachments,
            {place: node for place in places if (node := self._nodes.get("", place)) is not None},
            {node: now - since for node, since in self._since.get(name, {}).items()},
            source is not None and is_attached_first(self._drivers.get("", source.driver)),
        )

    def _users(self, volume: core.PersistentVolume | None) -> dict[str, list[core.Pod]]:
        """By node the pods that want a driver's volume there."""
        users = defaultdict[str, list[core.Pod]](list)
        if volume is None or source_of(volume) is None or not volume.spec.HasField("claim_ref"):
            return users
        reference = volume.spec.claim_ref
        claim = self._claims.get(reference.namespace, reference.name)
        if (
            claim is None
            or claim.metadata.uid != reference.uid
            or not is_fully_bound(claim)
            or claim.spec.volume_name != volume.metadata.name
        ):
            return users
        for pod in self._pods.index(BY_CLAIM, str(key_of(claim))):
            if wants_its_volumes(pod) and uses_claim(pod, claim):
                users[pod.spec.node_name].append(pod)
        return users

    async def _is_gone(self, volume: str) -> bool:
        try:
            await self.client.get(core.PersistentVolume, volume)
        except NotFound:
            return True
        return False

    def _remember(self, name: str, decision: Decision) -> None:
        now, before = asyncio.get_running_loop().time(), self._since.get(name, {})
        self._since[name] = {node: before.get(node, now) for node in decision.unwanted}

    def _tell_of_attachments(self, facts: Facts) -> float | None:
        """Tells pods how it goes with what they wait for; answers in how many seconds there may be more to tell."""
        before, late = self._awaited[facts.name], list[float]()
        now = self.context.clock.now()
        kept = dict[str, str]()
        for found in facts.attachments:
            uid, pods = found.metadata.uid, facts.users.get(found.spec.node_name, ())
            if found.status.attached or is_deleting(found):
                if found.status.attached and uid in before:
                    self._tell(pods, NORMAL, SUCCEEDED, success(facts.name))
                continue
            words = found.status.attach_error.message
            left = ATTACH_SECONDS - (now - to_datetime(found.metadata.creation_timestamp)).total_seconds()
            if not words and left <= 0:
                words = _timed_out(found, facts.volume)
            elif not words:
                late.append(left)
            if words and before.get(uid, "") != words:
                self._tell(pods, WARNING, FAILED, failure(facts.name, words))
            kept[uid] = words
        self._awaited[facts.name] = kept
        return min(late, default=None)

    def _tell(self, pods: Iterable[core.Pod], kind: str, reason: str, words: str) -> None:
        for pod in pods:
            self.recorder.event(pod, kind, reason, words)


def _timed_out(found: storage.VolumeAttachment, volume: core.PersistentVolume | None) -> str:
    source = None if volume is None else source_of(volume)
    handle = "" if source is None else source.volume_handle
    return f"timed out waiting for external-attacher of {found.spec.attacher} CSI driver to attach volume {handle}"


def _is_drivers(old: core.PersistentVolume | None, new: core.PersistentVolume | None) -> bool:
    return any(volume is not None and source_of(volume) is not None for volume in (old, new))


def _place(pod: core.Pod) -> tuple[object, ...]:
    """What of a pod says whether its volumes are wanted, and where."""
    return pod.metadata.uid, pod.spec.node_name, wants_its_volumes(pod)


def _counted(node: core.Node) -> tuple[object, ...]:
    """What of a node decides about volumes."""
    status = node.status
    attached = [one.name for one in status.volumes_attached]
    return list(status.volumes_in_use), attached, is_true(status, "Ready"), [taint.key for taint in node.spec.taints]
