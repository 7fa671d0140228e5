"""Route: the provider's network leads to each node's pods, and each node says whether it does.

One key, ``routes``, stands for the whole: the provider answers all routes at once. A route that cannot be made does not keep the others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound
from knarr.objects.conditions import FALSE, TRUE, get_condition, set_condition
from knarr.objects.keys import Key
from services.cloud.controller import CloudController, Context
from services.cloud.controllers.route.decide import plan, ranges_of
from services.cloud.errors import ProviderError
from services.cloud.settings import CloudSettings

log = logging.getLogger(__name__)

ALL = Key("", "routes")
CONDITION = "NetworkUnavailable"
MADE = (FALSE, "RouteCreated", "RouteController created a route")
MISSING = (TRUE, "NoRouteCreated", "RouteController failed to create a route")


class RouteController(CloudController):
    name = "route"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._backoff = context.provider_backoff
        self._failures = 0
        self._told: dict[str, str] = {}
        self._nodes = self.hears(core.Node, self._node_changed)
        self.queue.enqueue(ALL)

    @classmethod
    def wanted(cls, info: cloud.GetInfoResponse, settings: CloudSettings) -> bool:
        return bool(info.routes and settings.cluster_cidr)

    def sync(self, key: Key) -> None:
        self.queue.enqueue(ALL)

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> Iterator[Key]:
        if new is None and old is not None:
            self._told.pop(old.metadata.name, None)
        if old is None or new is None or ranges_of(old) != ranges_of(new):
            yield ALL

    async def reconcile(self, key: Key) -> Again | None:
        settings = self.context.settings
        try:
            answer = await self.provider.list_routes(cloud.ListRoutesRequest(cluster=settings.cluster))
        except ProviderError as error:
            return Again(self._failed(error))
        nodes = self._nodes.list()
        wanted = plan(nodes, answer.routes, settings.cluster_cidr)
        failed: ProviderError | None = None
        for route in wanted.remove:
            try:
                await self.provider.delete_route(cloud.DeleteRouteRequest(cluster=settings.cluster, route=route))
            except ProviderError as error:
                failed = error
                log.warning("a route was not removed", extra={"route": route.name, "cidr": route.destination_cidr, "error": str(error)})
        missing: set[str] = set()
        for node, route in wanted.create:
            try:
                await self.provider.create_route(cloud.CreateRouteRequest(cluster=settings.cluster, route=route, node=node))
            except ProviderError as error:
                failed = error
                missing.add(node.metadata.name)
                self._tell_failure(node, route, error)
        for node in nodes:
            if ranges_of(node):
                await self._set_condition(node, node.metadata.name not in missing)
        if failed is not None:
            return Again(self._failed(failed))
        self._failures = 0
        return Again(settings.route_seconds)

    def _tell_failure(self, node: core.Node, route: cloud.Route, error: ProviderError) -> None:
        text = f"Could not create route to {route.destination_cidr} for node {node.metadata.name}: {error}"
        if self._told.get(node.metadata.name) != text:
            self._told[node.metadata.name] = text
            self.context.recorder.event(node, WARNING, "FailedToCreateRoute", text)

    async def _set_condition(self, node: core.Node, made: bool) -> None:
        status, reason, message = MADE if made else MISSING
        name = node.metadata.name
        if made:
            self._told.pop(name, None)
        known = get_condition(node.status, CONDITION)
        if known is not None and known.status == status and known.reason == reason:
            return
        try:
            live = await self.client.get(core.Node, name)
            if live.metadata.uid == node.metadata.uid:
                set_condition(live.status, CONDITION, status, reason=reason, message=message, now=self.context.clock.now())
                await self.client.update(live, subresource="status")
        except (NotFound, Conflict):
            # The change that came between enqueues nothing by itself.
            self.queue.enqueue_after(ALL, 0.1)

    def _failed(self, error: ProviderError) -> float:
        self._failures += 1
        log.warning("routes are not as they should be", extra={"error": str(error), "failures": self._failures})
        return max(self._backoff.delay(self._failures), error.retry_after_seconds)
