"""Follows the objects of Gateway API, from when their kinds are served; compiles Gateways into listeners and routes by them.

What is not there costs nothing: kinds are followed once they are defined, routes and grants once there is a Gateway of ours.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.informer import Informer
from knarr.machinery import codec
from knarr.machinery.errors import AlreadyExists, StatusError
from services.gateway.routing.table import Origin
from services.gateway.sources.gateway_api.gateways import problem_of
from services.gateway.sources.gateway_api.listeners import Listener, listeners_of, settle
from services.gateway.sources.gateway_api.objects import (
    CONTROLLER,
    GATEWAY,
    GROUP,
    ROUTES,
    Condition,
    Facts,
    Grant,
    origin_of,
    spec_of,
    text,
)
from services.gateway.sources.gateway_api.routes import Told, compile_route

log = logging.getLogger(__name__)

CLASSES, GRANTS = "GatewayClass", "ReferenceGrant"
CLASS = "knarr"
RETRY_SECONDS = 1.0
VERSIONS = ("v1", "v1beta1", "v1alpha3", "v1alpha2")


class GatewayApi:
    """``touch`` is told of objects to be compiled again."""

    def __init__(
        self,
        client: Client,
        touch: Callable[[Iterable[Origin]], None],
        facts: Facts,
        definition: Informer[Any],
        *,
        define: bool,
        apart: bool,
    ) -> None:
        """``define``: makes the kinds that are not there, and a class. ``apart``: each Gateway has an address of its own."""
        self._client, self._touch, self._facts, self._define = client, touch, facts, define
        self._definition, self._apart = definition, apart
        self._known: dict[str, Any] = {}
        self.informers: dict[str, Informer[Any]] = {}
        self.namespaces = Informer(client, core.Namespace)
        self.listeners: dict[Origin, list[Listener]] = {}
        # Of a Gateway as a whole.
        self.problems: dict[Origin, Condition] = {}
        self.told: dict[Origin, Told] = {}
        self.protocols: dict[int, str] = {}
        # What stands for the address of a Gateway that has one of its own. None is used again.
        self.scopes: dict[Origin, int] = {}
        self._made = 0
        self._class_known = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Follows until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            if self._define:
                group.create_task(self._make(), name="gateway/definitions")
            await self._definition.wait_synced()
            news = asyncio.Event()
            self._definition.on_change(lambda old, new: news.set())
            while True:
                await news.wait()
                news.clear()
                while self._definition.store.list() and not await self._learn():  # noqa: ASYNC110
                    await asyncio.sleep(RETRY_SECONDS)

    async def _make(self) -> None:
        # Loaded by those alone who want it.
        from services.gateway.definitions.gateway_api import definitions

        for each in definitions():
            await self._persist(codec.from_json(apiextensions.CustomResourceDefinition, each).message)
        await self._class_known.wait()
        made = self._known[CLASSES]()
        made.metadata.name = CLASS
        made.content = {"spec": {"controllerName": CONTROLLER, "description": "Knarr's own gateway"}}
        await self._persist(made)

    async def _persist(self, made: Any) -> None:
        """What is there already stays as somebody made it."""
        while True:
            try:
                await self._client.create(made)
                return
            except AlreadyExists:
                return
            except StatusError as error:
                log.warning("an object could not be made", extra={"name": made.metadata.name, "error": str(error)})
                await asyncio.sleep(RETRY_SECONDS)

    async def _learn(self) -> bool:
        """Follows the kinds that are served by now; False while some are missing."""
        try:
            resources = await self._client.resources()
        except StatusError:
            return False
        for resource in resources:
            served = {version.version: version for version in resource.versions if version.group == GROUP}
            version = next((served[name] for name in VERSIONS if name in served), None)
            if version is not None:
                self._known.setdefault(version.kind, version.message)
        if CLASSES in self._known:
            self._class_known.set()
        for kind in (CLASSES, GATEWAY):
            self._follow(kind)
        self._follow_routes()
        return {CLASSES, GATEWAY, GRANTS, *ROUTES} <= set(self._known)

    def _follow(self, kind: str) -> None:
        if kind not in self._known or kind in self.informers or self._group is None:
            return
        informer: Informer[Any] = Informer(self._client, self._known[kind])
        self.informers[kind] = informer
        informer.on_change(lambda old, new: self._changed(kind, old, new))
        self._group.create_task(informer.run(), name=f"gateway/{kind}")

    def _follow_routes(self) -> None:
        if not any(True for _ in self.gateways()) or self._group is None:
            return
        for kind in (GRANTS, *ROUTES):
            self._follow(kind)
        if not self._facts.namespaces and not self.namespaces.synced:
            self.namespaces.on_change(self._namespace_changed)
            self._group.create_task(self.namespaces.run(), name="gateway/namespaces")
            self._facts.namespaces[""] = {}

    def _namespace_changed(self, old: core.Namespace | None, new: core.Namespace | None) -> None:
        before, after = (dict(found.metadata.labels) if found is not None else None for found in (old, new))
        name = (new if new is not None else old).metadata.name  # type: ignore[union-attr]
        if after is None:
            self._facts.namespaces.pop(name, None)
        else:
            self._facts.namespaces[name] = after
        if before != after:
            self._touch(self.origins())

    def _changed(self, kind: str, old: Any, new: Any) -> None:
        found = new if new is not None else old
        if (
            old is not None
            and new is not None
            and old.metadata.generation == new.metadata.generation
            and old.metadata.uid == new.metadata.uid
        ):
            return
        if kind in ROUTES:
            self._touch([origin_of(kind, found)])
            return
        if kind == GRANTS:
            self._facts.grants = [Grant.of(each) for each in self.informers[GRANTS].store.list()]
        self._follow_routes()
        gone = [Origin(GATEWAY, found.metadata.namespace, found.metadata.name)] if kind == GATEWAY else []
        self._touch([*self.origins(), *gone])

    def origins(self) -> list[Origin]:
        """Of all Gateways and routes that are there."""
        kinds = (GATEWAY, *ROUTES)
        return [origin_of(kind, each) for kind in kinds if kind in self.informers for each in self.informers[kind].store.list()]

    def touch_all(self) -> None:
        self._touch(self.origins())

    def classes(self) -> list[Any]:
        """Those that are ours."""
        found = self.informers[CLASSES].store.list() if CLASSES in self.informers else ()
        return [each for each in found if text(spec_of(each), "controllerName") == CONTROLLER]

    def gateways(self) -> Sequence[Any]:
        """Those of our classes."""
        names = {each.metadata.name for each in self.classes()}
        found = self.informers[GATEWAY].store.list() if GATEWAY in self.informers else ()
        return [each for each in found if text(spec_of(each), "gatewayClassName") in names]

    def object(self, origin: Origin) -> Any:
        """As it is known; None where there is none."""
        informer = self.informers.get(origin.kind)
        return informer.store.get(origin.namespace, origin.name) if informer is not None else None

    @property
    def serves(self) -> bool:
        return bool(self.gateways())

    def look_at_gateways(self, closed: dict[int, str]) -> None:
        """Takes all Gateways as they are now. ``closed`` are ports that cannot be opened."""
        gateways = {origin_of(GATEWAY, gateway): gateway for gateway in self.gateways()}
        self._give_scopes(gateways)
        found = [(gateway, listeners_of(gateway, self._facts, self.scopes.get(origin, 0))) for origin, gateway in gateways.items()]
        self.problems = {}
        for gateway, listeners in found:
            if (problem := problem_of(gateway)) is not None:
                self.problems[origin_of(GATEWAY, gateway)] = problem
                for each in listeners:
                    each.withheld = problem.type == "Accepted"
        self.protocols = settle(found, closed)
        self.listeners = {origin_of(GATEWAY, gateway): listeners for gateway, listeners in found}

    def _give_scopes(self, gateways: Collection[Origin]) -> None:
        self.scopes = {origin: scope for origin, scope in self.scopes.items() if origin in gateways}
        for origin in gateways if self._apart else ():
            if origin not in self.scopes:
                self._made += 1
                self.scopes[origin] = self._made

    def gone(self, gateway: Origin) -> bool:
        """Whether it is known that one is no more, or is another controller's. One whose class is not there may be ours again."""
        if not all(kind in self.informers and self.informers[kind].synced for kind in (CLASSES, GATEWAY)):
            return False
        found = self.object(gateway)
        if found is None:
            return True
        its = self.informers[CLASSES].store.get("", text(spec_of(found), "gatewayClassName"))
        return its is not None and text(spec_of(its), "controllerName") != CONTROLLER

    def compile(self, origin: Origin) -> Told | None:
        """Of a route; None where it is gone, or nobody's."""
        route = self.object(origin)
        self.told.pop(origin, None)
        if route is None:
            return None
        told = compile_route(origin, route, lambda namespace, name: self.listeners.get(Origin(GATEWAY, namespace, name)), self._facts)
        if told.parents:
            self.told[origin] = told
        return told if told.parents else None
