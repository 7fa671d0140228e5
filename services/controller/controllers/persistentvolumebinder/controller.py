"""Binds claims and volumes to one another, and tells what becomes of volumes whose claims are gone.

A key without a namespace is a volume's, one with a namespace a claim's. Whether a volume's claim is gone is asked of the server: what
is not in the copy may be there, and a volume that is let go is not taken back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.index import Index
from knarr.client.reconciler import Again
from knarr.machinery.errors import NotFound
from knarr.objects.binding import BIND_COMPLETED, is_fully_bound
from knarr.objects.keys import Key, key_of
from knarr.objects.pods import is_finished
from knarr.objects.volumes import BETA_DEFAULT_CLASS, DEFAULT_CLASS, default_of, storage_class_of
from services.controller.controller import Context, Controller
from services.controller.controllers.persistentvolumebinder.decide import Facts, decide
from services.controller.controllers.persistentvolumebinder.reclaim import decide_volume, is_let_go
from services.controller.controllers.persistentvolumebinder.step import Say, Step
from services.controller.pods import BY_CLAIM, claims_of

ANY = "any"


def _claimants(volume: core.PersistentVolume) -> Iterable[str]:
    """By the claim that a volume names; by its class where any claim may have it."""
    reference = volume.spec.claim_ref
    return (f"{reference.namespace}/{reference.name}",) if volume.spec.HasField("claim_ref") else (f"class:{storage_class_of(volume)}",)


def _waiting(claim: core.PersistentVolumeClaim) -> Iterable[str]:
    """By class and by the volume that a claim asks for, while it has none."""
    if BIND_COMPLETED not in claim.metadata.annotations:
        yield f"class:{storage_class_of(claim)}"
        yield ANY
    if claim.spec.volume_name:
        yield f"volume:{claim.spec.volume_name}"


BY_CLAIMANT: Index[core.PersistentVolume] = Index("claimant", _claimants)
WAITING: Index[core.PersistentVolumeClaim] = Index("waiting", _waiting)


class PersistentVolumeBinder(Controller):
    name = "persistentvolumebinder"
    speaks_as = "persistentvolume-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._claims = self.hears(core.PersistentVolumeClaim, self._claim_changed, WAITING)
        self._volumes = self.hears(core.PersistentVolume, self._volume_changed, BY_CLAIMANT)
        self._classes = self.hears(storage.StorageClass, self._class_changed)
        self._pods = self.hears(core.Pod, self._pod_changed, BY_CLAIM)
        # What was said last of each claim and volume: it is said again only after something else.
        self._said: dict[Key, tuple[str, str, str]] = {}

    def _claim_changed(self, old: core.PersistentVolumeClaim | None, new: core.PersistentVolumeClaim | None) -> Iterable[Key]:
        for claim in (old, new):
            if claim is not None:
                yield key_of(claim)
                if claim.spec.volume_name:
                    yield Key("", claim.spec.volume_name)
                for volume in self._volumes.index(BY_CLAIMANT, str(key_of(claim))):
                    yield key_of(volume)

    def _volume_changed(self, old: core.PersistentVolume | None, new: core.PersistentVolume | None) -> Iterable[Key]:
        for volume in (old, new):
            if volume is None:
                continue
            yield key_of(volume)
            if volume.spec.HasField("claim_ref"):
                yield Key(volume.spec.claim_ref.namespace, volume.spec.claim_ref.name)
            elif volume is new:
                yield from map(key_of, self._claims.index(WAITING, f"class:{storage_class_of(volume)}"))
            yield from map(key_of, self._claims.index(WAITING, f"volume:{volume.metadata.name}"))

    def _class_changed(self, old: storage.StorageClass | None, new: storage.StorageClass | None) -> Iterable[Key]:
        """Any claim may wait for its class, or for a default one."""
        return map(key_of, self._claims.index(WAITING, ANY))

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> Iterable[Key]:
        """For what a claim waits is told by the pods that use it."""
        if old is not None and new is not None and old.spec.node_name == new.spec.node_name:
            return
        for pod in (old, new):
            if pod is not None:
                for key in claims_of(pod):
                    claim = self._claims.get(*key)
                    if claim is not None and BIND_COMPLETED not in claim.metadata.annotations:
                        yield key

    async def reconcile(self, key: Key) -> Again | None:
        step = self._claim_step(key) if key.namespace else await self._volume_step(key)
        if step is None:
            self._said.pop(key, None)
        elif step.write is not None:
            with contextlib.suppress(NotFound):
                await self.client.update(step.write, subresource="status" if step.status else "")
                self._tell(key, step.say)
        else:
            self._tell(key, step.say)
        return None

    def _claim_step(self, key: Key) -> Step | None:
        claim = self._claims.get(*key)
        if claim is None:
            return None
        named = self._volumes.get("", claim.spec.volume_name) if claim.spec.volume_name else None
        if is_fully_bound(claim):
            return decide(claim, Facts(named))
        volumes = (*self._volumes.index(BY_CLAIMANT, str(key)), *self._volumes.index(BY_CLAIMANT, f"class:{storage_class_of(claim)}"))
        return decide(claim, Facts(named, volumes, self._by_name(), self._default(), self._waiting_pods(key)))

    async def _volume_step(self, key: Key) -> Step | None:
        volume = self._volumes.get(*key)
        return None if volume is None else decide_volume(volume, await self._claim_of(volume))

    async def _claim_of(self, volume: core.PersistentVolume) -> core.PersistentVolumeClaim | None:
        if not volume.spec.claim_ref.uid:
            return None
        reference = volume.spec.claim_ref
        claim = self._claims.get(reference.namespace, reference.name)
        if (claim is None or claim.metadata.uid != reference.uid) and not is_let_go(volume):
            try:
                claim = await self.client.get(core.PersistentVolumeClaim, reference.name, reference.namespace)
            except NotFound:
                return None
        return claim if claim is not None and claim.metadata.uid == reference.uid else None

    def _by_name(self) -> Mapping[str, storage.StorageClass]:
        return {found.metadata.name: found for found in self._classes.list()}

    def _default(self) -> str:
        return default_of((found.metadata for found in self._classes.list()), DEFAULT_CLASS, BETA_DEFAULT_CLASS)

    def _waiting_pods(self, key: Key) -> list[str]:
        users = self._pods.index(BY_CLAIM, str(key))
        return [pod.metadata.name for pod in users if not pod.spec.node_name and not is_finished(pod)]

    def _tell(self, key: Key, say: Say | None) -> None:
        if say is None:
            return
        words = (say.about.metadata.uid, say.reason, say.message)
        if self._said.get(key) != words:
            self._said[key] = words
            self.recorder.event(say.about, say.type, say.reason, say.message)
