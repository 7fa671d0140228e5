"""The proxy component: informers → routing table → change → datapath."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime
from typing import ClassVar

import grpc.aio

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.proxy.v1 import proxy_service_pb2 as messages
from knarr.api.proxy.v1 import proxy_service_pb2_grpc as stubs
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.events import EventRecorder
from knarr.client.index import Index
from knarr.client.informer import Informer
from knarr.objects.keys import key_of
from knarr.objects.labels import ZONE
from knarr.service.component import Component
from knarr.service.tasks import run_together
from services.proxy.datapath.nftables.datapath import NftablesDatapath
from services.proxy.datapath.port import Datapath
from services.proxy.datapath.userspace.datapath import UserspaceDatapath
from services.proxy.health import HealthChecks
from services.proxy.podnetwork.network import PodNetwork
from services.proxy.podnetwork.plan import OFF
from services.proxy.policy.enforcement import PolicyEnforcement
from services.proxy.programmer import Programmer
from services.proxy.reporter import Reporter
from services.proxy.routing.build import Router, service_of
from services.proxy.routing.endpoints import Place
from services.proxy.routing.host_ports import POD, owner_of, routes_of_pod
from services.proxy.routing.table import Change, Name, RouteKey, RoutingTable
from services.proxy.servicer import ProxyServicer
from services.proxy.settings import ProxySettings

log = logging.getLogger(__name__)

# Beside what the datapath waits for its connections to end.
CLOSE_TIMEOUT_SECONDS = 3.0
BY_SERVICE: Index[discovery.EndpointSlice] = Index("service", lambda piece: ["/".join(service_of(piece))])
DATAPATHS: dict[str, type[NftablesDatapath] | type[UserspaceDatapath]] = {
    NftablesDatapath.name: NftablesDatapath,
    UserspaceDatapath.name: UserspaceDatapath,
}


def make_datapath(settings: ProxySettings) -> Datapath:
    """The datapath the settings name; ValueError when there is none of that name."""
    try:
        return DATAPATHS[settings.datapath](settings)
    except KeyError:
        raise ValueError(f"unknown datapath {settings.datapath!r}: one of {', '.join(DATAPATHS)}") from None


class Proxy(Component):
    """Keeps the node's datapath as the Services want it. While the API server is away the last table stays in force."""

    name: ClassVar[str] = "proxy"

    def __init__(self, client: Client, settings: ProxySettings, datapath: Datapath | None = None) -> None:
        self._settings = settings
        self._datapath = datapath if datapath is not None else make_datapath(settings)
        self._services = Informer(client, core.Service)
        self._slices = Informer(client, discovery.EndpointSlice)
        self._slices.add_index(BY_SERVICE)
        # Pods of this node, for their host ports.
        self._pods = Informer(client, core.Pod, field_selector=f"spec.nodeName={settings.node_name}") if settings.node_name else None
        # Its zone, whose endpoints may be nearer than others.
        self._node = Informer(client, core.Node, field_selector=f"metadata.name={settings.node_name}") if settings.node_name else None
        self._router = Router(Place(settings.node_name))
        self._changed: set[Name] = set()
        backoff = Backoff(first_seconds=settings.retry_first_seconds, limit_seconds=settings.retry_limit_seconds)
        self._programmer = Programmer(self._datapath, self._table, backoff, self._applied, self._refused)
        self._health = HealthChecks(lambda: self._programmer.synced, settings.retry_limit_seconds)
        self._recorder = EventRecorder(client, "kube-proxy", settings.node_name)
        self._reporter = Reporter(self._recorder, settings.node_name, self._stored, self._missing)
        # Those of which no routes could be made, and why, in words.
        self._unread: dict[Name, str] = {}
        # The routes of each Service that are in force.
        self._in_force: dict[Name, set[RouteKey]] = {}
        self._pod_network = PodNetwork(client, settings) if settings.pod_network != OFF else None
        self._policies = PolicyEnforcement(client, settings, recorder=self._recorder) if settings.network_policies else None
        if self._policies is not None:
            self._datapath.judge_by(self._policies.admits)

    def register(self, server: grpc.aio.Server) -> list[str]:
        servicer = ProxyServicer(self._programmer, self._datapath, self._pod_network, self._policies, lambda: self._away_since)
        stubs.add_ProxyServiceServicer_to_server(servicer, server)
        return [messages.DESCRIPTOR.services_by_name["ProxyService"].full_name]

    @property
    def ready(self) -> bool:
        others = (self._pod_network, self._policies)
        return self._programmer.synced and all(part is None or part.tried for part in others)

    def _table(self) -> tuple[RoutingTable, set[RouteKey]]:
        changed, self._changed = self._changed, set()
        touched: set[RouteKey] = set()
        for namespace, name in changed:
            try:
                touched |= self._read(namespace, name)
                self._unread.pop((namespace, name), None)
            except Exception as error:
                # One that cannot be read must not keep the others from their routes.
                log.exception("routes could not be made", extra={"of": f"{namespace}/{name}"})
                self._unread[namespace, name] = f"its routes could not be made: {error}"
                self._reporter.look([(namespace, name)])
        return self._router.table, touched

    def _read(self, namespace: str, name: str) -> set[RouteKey]:
        if name.startswith(POD):
            return self._router.put_pod((namespace, name), self._pod(namespace, name))
        slices = self._slices.store.index(BY_SERVICE, f"{namespace}/{name}")
        return self._router.put(namespace, name, self._services.store.get(namespace, name), slices)

    def _pod(self, namespace: str, name: str) -> core.Pod | None:
        return self._pods.store.get(namespace, name.removeprefix(POD)) if self._pods is not None else None

    def _stored(self, namespace: str, name: str) -> core.Service | core.Pod | None:
        return self._pod(namespace, name) if name.startswith(POD) else self._services.store.get(namespace, name)

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """Most changes of pods do not matter here."""
        before, after = (routes_of_pod(pod) if pod is not None else [] for pod in (old, new))
        if before != after:
            self._touch(*(owner_of(pod) for pod in (old, new) if pod is not None))

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> None:
        """Heartbeats change a Node all the time; here only its zone matters."""
        place = Place(self._settings.node_name, new.metadata.labels.get(ZONE, "") if new is not None else "")
        if place != self._router.place:
            self._router.place = place
            self._touch(*(service_of(piece) for piece in self._slices.store.list()))

    def _service_changed(self, old: core.Service | None, new: core.Service | None) -> None:
        self._touch(*(key_of(service) for service in (old, new) if service is not None))

    def _slice_changed(self, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None) -> None:
        self._touch(*(service_of(piece) for piece in (old, new) if piece is not None))

    def _applied(self, change: Change) -> None:
        self._health.put(change)
        for route in change.removed:
            keys = self._in_force.get((route.key.namespace, route.key.service), set())
            keys.discard(route.key)
            if not keys:
                self._in_force.pop((route.key.namespace, route.key.service), None)
        for route in change.added:
            self._in_force.setdefault((route.key.namespace, route.key.service), set()).add(route.key)
        self._reporter.look({(route.key.namespace, route.key.service) for route in (*change.before, *change.after)})

    def _refused(self, key: RouteKey) -> None:
        self._reporter.look([(key.namespace, key.service)])

    def _missing(self, service: Name) -> list[str]:
        """What of a Service's wishes is not in force, in words."""
        routes = [self._programmer.in_force[key] for key in sorted(self._in_force.get(service, ()))]
        found = [self._unread.get(service, ""), self._health.problems.get(service, "")]
        found += [refused.reason for key, refused in self._programmer.refused.items() if (key.namespace, key.service) == service]
        found += [words for route in routes for words in (*route.limitations, *self._datapath.limits_of(route))]
        return [words for words in found if words]

    @property
    def _away_since(self) -> datetime | None:
        """Since when the API server does not answer; None while it does."""
        return min((since for informer in (self._services, self._slices) if (since := informer.away_since) is not None), default=None)

    def _touch(self, *services: Name) -> None:
        self._changed.update(services)
        self._programmer.touch()

    async def run(self) -> None:
        await self._datapath.start()
        for limitation in self._datapath.limitations:
            log.info("datapath limitation", extra={"datapath": self._datapath.name, "limitation": limitation})
        parts = {
            "services": self._services.run(),
            "slices": self._slices.run(),
            "program": self._program(),
            "check": self._check(),
            "health-checks": self._health.run(),
            "events": self._recorder.run(),
        }
        if self._pods is not None:
            parts["pods"] = self._pods.run()
        if self._node is not None:
            parts["node"] = self._node.run()
        if self._pod_network is not None:
            parts["pod-network"] = self._pod_network.run()
        if self._policies is not None:
            parts["policies"] = self._policies.run()
        try:
            await run_together("proxy", parts)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.stop_seconds + CLOSE_TIMEOUT_SECONDS):
                    await self._datapath.close()

    async def _program(self) -> None:
        """The first table is complete before it replaces what a predecessor left."""
        await self._services.wait_synced()
        await self._slices.wait_synced()
        if self._node is not None:
            await self._node.wait_synced()
            self._node.on_change(self._node_changed)
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        if self._pods is not None:
            await self._pods.wait_synced()
            self._pods.on_change(self._pod_changed)
        self._programmer.touch()
        await self._programmer.run()

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(self._settings.check_seconds)
            if not self._programmer.synced:
                continue
            try:
                await self._datapath.check()
                limited = {(key.namespace, key.service) for key in self._datapath.limited}
                self._reporter.look({*limited, *self._health.problems, *self._reporter.mentioned})
            except Exception:
                log.exception("the datapath could not be looked after")
