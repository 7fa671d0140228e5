"""ProxyService: the routing table as it is in force."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from knarr.api.proxy.v1 import proxy_service_pb2 as messages
from knarr.api.proxy.v1 import proxy_service_pb2_grpc as stubs
from services.proxy.datapath.port import Counters, Datapath
from services.proxy.programmer import Programmer
from services.proxy.routing.table import Route


class ProxyServicer(stubs.ProxyServiceServicer):
    """Answers from the programmer and the datapath's counters."""

    def __init__(self, programmer: Programmer, datapath: Datapath) -> None:
        self._programmer = programmer
        self._datapath = datapath

    async def GetRoutes(self, request: messages.GetRoutesRequest, context: Any) -> messages.GetRoutesResponse:
        routes = [
            route
            for key, route in sorted(self._programmer.in_force.items(), key=itemgetter(0))
            if request.namespace in ("", key.namespace) and request.service in ("", key.service)
        ]
        counters = await self._datapath.counters([route.key for route in routes])
        return messages.GetRoutesResponse(
            datapath=self._datapath.name,
            routes=[_route_message(route, counters) for route in routes],
            changes=self._programmer.changes,
            last_change_seconds=self._programmer.last_change_seconds,
            limitations=self._datapath.limitations,
        )


def _route_message(route: Route, counters: Counters) -> messages.Route:
    return messages.Route(
        namespace=route.key.namespace,
        service=route.key.service,
        port_name=route.key.port_name,
        protocol=route.protocol.upper(),
        cluster_ip=route.cluster_ips[0] if route.cluster_ips else "",
        port=route.port,
        node_port=route.node_port,
        endpoints=[
            messages.Endpoint(
                address=endpoint.address, port=endpoint.port, pod=endpoint.pod, connections=counters.get((route.key, endpoint), 0)
            )
            for endpoint in route.endpoints
        ],
        limitations=route.limitations,
    )
