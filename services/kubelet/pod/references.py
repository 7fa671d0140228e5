"""What a pod refers to: ConfigMaps, Secrets, Services and bundles of certificates, and the tokens and certificates that are made for it.

A ConfigMap or Secret is watched by itself, from the first pod on that names it until the last one is gone: a node may see nothing else of
the kind. A miss in the store is asked of the API once, so that a pod made right after its ConfigMap does not stumble.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.events import WARNING, EventRecorder
from knarr.client.informer import Informer
from knarr.machinery.errors import Forbidden, NotFound
from knarr.objects.keys import Key, key_of
from knarr.objects.references import config_map_names, secret_names
from knarr.objects.volumes import claim_names
from knarr.service.tasks import cancel
from services.kubelet.pod.credentials import Credential, Event
from services.kubelet.pod.pod_certificates import Place, PodCertificateKeeper
from services.kubelet.pod.tokens import TokenKeeper, Wanted
from services.kubelet.pod.trust_anchors import NO_ANCHORS, TrustAnchors
from services.kubelet.pod.trust_bundles import TrustBundleReader

log = logging.getLogger(__name__)
M = TypeVar("M", bound=Message)

# A kind and the key of an object of it.
Reference = tuple[type[Message], Key]


@dataclass(frozen=True, slots=True)
class References:
    """The objects a pod refers to, by name in its namespace; a missing one is absent."""

    config_maps: dict[str, core.ConfigMap] = field(default_factory=dict)
    secrets: dict[str, core.Secret] = field(default_factory=dict)
    services: tuple[core.Service, ...] = ()
    tokens: Mapping[Wanted, str] = field(default_factory=dict)
    anchors: TrustAnchors = NO_ANCHORS
    credentials: Mapping[Place, Credential] = field(default_factory=dict)
    # Of claims, and of the volumes that they have, by the volumes' own names.
    claims: Mapping[str, core.PersistentVolumeClaim] = field(default_factory=dict)
    volumes: Mapping[str, core.PersistentVolume] = field(default_factory=dict)


@dataclass(slots=True)
class _Followed:
    """One object that is watched, and the uids of the pods that name it."""

    informer: Informer[Any]
    task: asyncio.Task[None]
    pods: set[str] = field(default_factory=set)


class ReferenceReader:
    """Reads references; ``on_change`` hears of each ConfigMap, Secret and ClusterTrustBundle that changed, and of each pod whose
    certificates did."""

    def __init__(
        self,
        client: Client,
        services: Informer[core.Service],
        node_name: str,
        recorder: EventRecorder,
        tokens: TokenKeeper,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._client = client
        self._recorder = recorder
        self._certificates = PodCertificateKeeper(client, node_name, clock, lambda key: self._hear("Pod", key), self._warn)
        self.tokens = tokens
        self._bundles = TrustBundleReader(client, lambda old, new: self._tell("ClusterTrustBundle", old, new))
        self._services = services
        self._followed: dict[Reference, _Followed] = {}
        self._listeners: list[Callable[[str, Key], None]] = []

    def on_change(self, listener: Callable[[str, Key], None]) -> None:
        """``listener(kind, key)`` after the store has the change."""
        self._listeners.append(listener)

    async def read(self, pod: core.Pod) -> References:
        """Everything the pod refers to, as stored now. Raises StatusError when the API cannot be asked, NoAnchors and
        NoCredential while it has not told what the volumes show."""
        named = _references(pod)
        self._follow(pod.metadata.uid, named)
        informers = [self._followed[reference].informer for reference in named]
        found = [_known(reference, informer) for reference, informer in zip(named, informers, strict=True)]
        if None in found:
            found = await asyncio.gather(*map(self._find, named, informers))
        # Of most pods all of this is there: a task for each would take longer than what they do.
        tokens, anchors = await self.tokens.read(pod), await self._bundles.read(pod)
        credentials = await self._certificates.read(pod)
        claims, volumes = await self.claims(pod)
        services = tuple(self._services.store.list())
        read = References(services=services, tokens=tokens, anchors=anchors, credentials=credentials, claims=claims, volumes=volumes)
        for (kind, key), obj in zip(named, found, strict=True):
            if obj is not None:
                (read.config_maps if kind is core.ConfigMap else read.secrets)[key.name] = obj
        return read

    def renew_at(self, uid: str) -> datetime | None:
        """When the first of what a pod's volumes show is to be renewed; None where nothing of it ends."""
        return min((at for at in (self.tokens.renew_at(uid), self._certificates.renew_at(uid)) if at is not None), default=None)

    def forget(self, uid: str) -> None:
        """The pod is no more."""
        self.tokens.forget(uid)
        self._certificates.forget(uid)
        self._bundles.forget(uid)
        self._follow(uid, ())

    async def close(self) -> None:
        await self._bundles.close()
        await self._certificates.close()
        await cancel([followed.task for followed in self._followed.values()])

    def _follow(self, uid: str, named: tuple[Reference, ...]) -> None:
        for reference in named:
            followed = self._followed.get(reference)
            if followed is None:
                followed = self._followed[reference] = self._begin(reference)
            followed.pods.add(uid)
        for reference, followed in list(self._followed.items()):
            if reference not in named and uid in followed.pods:
                followed.pods.discard(uid)
                if not followed.pods:
                    followed.task.cancel()
                    del self._followed[reference]

    def _begin(self, reference: Reference) -> _Followed:
        kind, key = reference
        informer: Informer[Any] = Informer(self._client, kind, namespace=key.namespace, field_selector=f"metadata.name={key.name}")
        name = kind.DESCRIPTOR.name
        informer.on_change(lambda old, new: self._tell(name, old, new))
        return _Followed(informer, asyncio.create_task(informer.run(), name=f"kubelet/informer/{name} {key}"))

    async def _find(self, reference: Reference, informer: Informer[Any]) -> Any:
        kind, key = reference
        obj = _known(reference, informer)
        if obj is None:
            try:
                obj = await self._client.get(kind, key.name, key.namespace)
            except NotFound:
                return None
        return obj

    async def claims(self, pod: core.Pod) -> tuple[dict[str, core.PersistentVolumeClaim], dict[str, core.PersistentVolume]]:
        """Asked for each time: a node may not follow them, and what a claim has once been bound to stays."""
        namespace = pod.metadata.namespace
        claims = [await self._get(core.PersistentVolumeClaim, name, namespace) for name in sorted(set(claim_names(pod)))]
        there = {claim.metadata.name: claim for claim in claims if claim is not None}
        named = sorted({claim.spec.volume_name for claim in there.values() if claim.spec.volume_name})
        volumes = [await self._get(core.PersistentVolume, name) for name in named]
        return there, {volume.metadata.name: volume for volume in volumes if volume is not None}

    async def _get(self, kind: type[M], name: str, namespace: str = "") -> M | None:
        """A node hears of what is not there, or not its pods', that it may not see it."""
        try:
            return await self._client.get(kind, name, namespace)
        except (NotFound, Forbidden):
            return None

    def _tell(self, kind: str, old: Message | None, new: Message | None) -> None:
        changed = new if new is not None else old
        if changed is not None:
            self._hear(kind, key_of(changed))

    def _hear(self, kind: str, key: Key) -> None:
        for listener in self._listeners:
            listener(kind, key)

    def _warn(self, pod: core.Pod, event: Event) -> None:
        self._recorder.event(pod, WARNING, *event)


def _known(reference: Reference, informer: Informer[Any]) -> Any:
    """An object that is followed; None also while it is not known."""
    key = reference[1]
    return informer.store.get(key.namespace, key.name) if informer.synced else None


def _references(pod: core.Pod) -> tuple[Reference, ...]:
    namespace = pod.metadata.namespace
    config_maps = [(core.ConfigMap, Key(namespace, name)) for name in sorted(config_map_names(pod))]
    return (*config_maps, *((core.Secret, Key(namespace, name)) for name in sorted(secret_names(pod))))
