"""What a pod refers to: ConfigMaps, Secrets and Services, read through shared informers, and the tokens of its account.

ConfigMaps and Secrets are watched from the first pod on that needs one; the cluster's certificate, which nearly every pod shows, by
itself, so that the others are not watched for its sake. A miss in the store is asked of the API once, so that a pod made right after
its ConfigMap does not stumble.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.informer import Informer
from knarr.machinery.errors import NotFound
from knarr.objects.keys import Key, key_of
from knarr.objects.references import config_map_names, secret_names
from knarr.service.tasks import cancel
from services.kubelet.pod.tokens import TokenKeeper, Wanted

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)

# The ConfigMap of every namespace with the certificate by which pods know the API server.
CERTIFICATE = "kube-root-ca.crt"


@dataclass(frozen=True, slots=True)
class References:
    """The objects a pod refers to, by name in its namespace; a missing one is absent."""

    config_maps: dict[str, core.ConfigMap] = field(default_factory=dict)
    secrets: dict[str, core.Secret] = field(default_factory=dict)
    services: tuple[core.Service, ...] = ()
    tokens: Mapping[Wanted, str] = field(default_factory=dict)


class ReferenceReader:
    """Reads references; ``on_change`` hears of each ConfigMap and Secret that changed."""

    def __init__(self, client: Client, services: Informer[core.Service], clock: Clock = SYSTEM_CLOCK) -> None:
        self._client = client
        self.tokens = TokenKeeper(client, clock)
        self._services = services
        self._config_maps: Informer[core.ConfigMap] = Informer(client, core.ConfigMap)
        self._certificates: Informer[core.ConfigMap] = Informer(client, core.ConfigMap, field_selector=f"metadata.name={CERTIFICATE}")
        self._secrets: Informer[core.Secret] = Informer(client, core.Secret)
        self._tasks: dict[Informer[Any], asyncio.Task[None]] = {}
        self._listeners: list[Callable[[str, Key], None]] = []
        self._config_maps.on_change(lambda old, new: self._tell("ConfigMap", old, new))
        self._certificates.on_change(lambda old, new: self._tell("ConfigMap", old, new))
        self._secrets.on_change(lambda old, new: self._tell("Secret", old, new))

    def on_change(self, listener: Callable[[str, Key], None]) -> None:
        """``listener(kind, key)`` after the store has the change."""
        self._listeners.append(listener)

    async def read(self, pod: core.Pod) -> References:
        """Everything the pod refers to, as stored now. Raises StatusError when the API cannot be asked."""
        namespace = pod.metadata.namespace
        config_maps, secrets = config_map_names(pod), secret_names(pod)
        certificates, others = config_maps & {CERTIFICATE}, config_maps - {CERTIFICATE}
        tokens, found, more, kept = await asyncio.gather(
            self.tokens.read(pod),
            self._find(self._certificates, core.ConfigMap, namespace, certificates),
            self._find(self._config_maps, core.ConfigMap, namespace, others),
            self._find(self._secrets, core.Secret, namespace, secrets),
        )
        return References(found | more, kept, tuple(self._services.store.list()), tokens)

    async def close(self) -> None:
        await cancel(self._tasks.values())

    async def _find(self, informer: Informer[M], message: type[M], namespace: str, names: Collection[str]) -> dict[str, M]:
        found: dict[str, M] = {}
        if names and informer not in self._tasks:
            self._tasks[informer] = asyncio.create_task(informer.run(), name=f"kubelet/informer/{message.DESCRIPTOR.name}")
        for name in names:
            obj = informer.store.get(namespace, name) if informer.synced else None
            if obj is None:
                try:
                    obj = await self._client.get(message, name, namespace)
                except NotFound:
                    continue
            if obj is not None:
                found[name] = obj
        return found

    def _tell(self, kind: str, old: Message | None, new: Message | None) -> None:
        changed = new if new is not None else old
        if changed is not None:
            for listener in self._listeners:
                listener(kind, key_of(changed))
