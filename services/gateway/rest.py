"""What is followed while nothing is to be served: Ingresses, their classes, and whether the kinds of Gateway API are defined.

The rest of the gateway is loaded when there is something to serve: most clusters need none of it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.client import Client
from knarr.client.informer import Informer

CONTROLLER = "knarr.io/gateway"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
# By which it is seen that the kinds of Gateway API are defined.
DEFINITION = "gatewayclasses.gateway.networking.k8s.io"


class Rest:
    """``run`` it; others read the informers' stores."""

    def __init__(self, client: Client) -> None:
        self.ingresses = Informer(client, networking.Ingress)
        self.classes = Informer(client, networking.IngressClass)
        self.definition = Informer(client, apiextensions.CustomResourceDefinition, field_selector=f"metadata.name={DEFINITION}")
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Follows until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in (self.ingresses, self.classes, self.definition):
                group.create_task(informer.run(), name=f"gateway/{informer.kind}")

    async def wait_synced(self) -> None:
        for informer in (self.ingresses, self.classes, self.definition):
            await informer.wait_synced()

    async def wait_needed(self) -> None:
        """Returns once there is something to serve. Needs to be synced."""

        def heard(old: Any, new: Any) -> None:
            self._news.set()

        for informer in (self.ingresses, self.classes, self.definition):
            informer.on_change(heard)
        while not self.needed:
            self._news.clear()
            await self._news.wait()

    @property
    def needed(self) -> bool:
        """Whether there is something to serve, or may soon be."""
        return any(True for _ in self.definition.store.list()) or any(self.is_ours(ingress) for ingress in self.ingresses.store.list())

    def is_ours(self, ingress: networking.Ingress) -> bool:
        found = self.classes.store.get("", class_of(ingress))
        return found is not None and found.spec.controller == CONTROLLER


def class_of(ingress: networking.Ingress) -> str:
    if ingress.spec.HasField("ingress_class_name"):
        return str(ingress.spec.ingress_class_name)
    return str(ingress.metadata.annotations.get(CLASS_ANNOTATION, ""))
