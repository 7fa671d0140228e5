"""ProxyService: the routing table and the pod network as they are in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

import grpc

from knarr.api.proxy.v1 import policies_pb2 as policy_messages
from knarr.api.proxy.v1 import proxy_service_pb2 as messages
from knarr.api.proxy.v1 import proxy_service_pb2_grpc as stubs
from services.proxy.datapath.port import Counters, Datapath
from services.proxy.podnetwork.network import InForce, PodNetwork
from services.proxy.podnetwork.plan import OFF, Peer
from services.proxy.policy.answers import UnknownParty, explain_answer, policies_answer
from services.proxy.policy.enforcement import PolicyEnforcement
from services.proxy.policy.facts import DnsFacts
from services.proxy.programmer import Programmer
from services.proxy.routing.table import Endpoint, Route, destinations


class ProxyServicer(stubs.ProxyServiceServicer):
    """Answers from the programmer, the datapath's counters, the pod network and the policies, where there are such."""

    def __init__(
        self,
        programmer: Programmer,
        datapath: Datapath,
        pod_network: PodNetwork | None = None,
        policies: PolicyEnforcement | None = None,
        away_since: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        """``away_since`` answers since when the API server is away, if it is."""
        self._programmer = programmer
        self._datapath = datapath
        self._pod_network = pod_network
        self._policies = policies
        self._away_since = away_since

    async def GetRoutes(self, request: messages.GetRoutesRequest, context: Any) -> messages.GetRoutesResponse:
        routes = [
            route
            for key, route in sorted(self._programmer.in_force.items(), key=itemgetter(0))
            if request.namespace in ("", key.namespace) and request.service in ("", key.service)
        ]
        refused = self._programmer.refused
        # One that never came into force is shown as it is wanted.
        routes += [
            found.wanted
            for key, found in sorted(refused.items(), key=itemgetter(0))
            if found.wanted is not None
            and key not in self._programmer.in_force
            and request.namespace in ("", key.namespace)
            and request.service in ("", key.service)
        ]
        counters = await self._datapath.counters([route.key for route in routes if route.key in self._programmer.in_force])
        answer = messages.GetRoutesResponse(
            datapath=self._datapath.name,
            routes=[_route_message(route, counters, self._programmer.since.get(route.key, {}), self._limits_of(route)) for route in routes],
            changes=self._programmer.changes,
            last_change_seconds=self._programmer.last_change_seconds,
            limitations=self._datapath.limitations,
            held_addresses=[
                messages.HeldAddress(address=address, device=device) for address, device in sorted(self._datapath.held.items())
            ],
        )
        away_since = self._away_since()
        if away_since is not None:
            answer.stale = True
            answer.stale_since.FromDatetime(away_since)
        return answer

    def _limits_of(self, route: Route) -> tuple[str, ...]:
        refused = self._programmer.refused.get(route.key)
        return (*([refused.reason] if refused is not None else []), *self._datapath.limits_of(route))

    async def GetPodNetwork(self, request: messages.GetPodNetworkRequest, context: Any) -> messages.GetPodNetworkResponse:
        if self._pod_network is None:
            return messages.GetPodNetworkResponse(mode=OFF)
        return _pod_network_message(self._pod_network.mode, self._pod_network.in_force)

    async def GetPolicies(self, request: policy_messages.GetPoliciesRequest, context: Any) -> policy_messages.GetPoliciesResponse:
        if self._policies is None:
            return policy_messages.GetPoliciesResponse()
        return policies_answer(request, self._policies)

    async def ExplainConnection(
        self, request: policy_messages.ExplainConnectionRequest, context: Any
    ) -> policy_messages.ExplainConnectionResponse:
        if self._policies is None or not self._policies.knows_pods:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "there are no policies to judge by: every connection is allowed")
            raise AssertionError("abort raises")
        try:
            self._refuse_service(request.destination.address, self._policies.engine.dns)
            return explain_answer(request, self._policies.engine)
        except UnknownParty as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        raise AssertionError("abort raises")

    def _refuse_service(self, address: str, dns: DnsFacts | None) -> None:
        """ValueError for the address of a Service, which policies know nothing of but for the cluster's DNS."""
        if not address or (dns is not None and address in dns.addresses):
            return
        for key, route in self._programmer.in_force.items():
            if address in route.addresses:
                places = ", ".join(f"{endpoint.address} port {endpoint.port}" for endpoint in route.endpoints) or "none now"
                raise ValueError(
                    f"{address} is an address of Service {key.namespace}/{key.service}: ask for one of its endpoints ({places})"
                )


def _pod_network_message(mode: str, found: InForce) -> messages.GetPodNetworkResponse:
    plan = found.plan
    device = plan.state.device
    answer = messages.GetPodNetworkResponse(
        mode=mode,
        node=plan.own.name,
        pod_cidr=plan.own.pod_cidr,
        address=plan.own.address,
        device=device.name if device is not None else "",
        mtu=device.mtu if device is not None else 0,
        peers=[_peer_message(peer, found) for peer in plan.peers],
        problem=plan.problem,
        limitations=found.limitations,
    )
    if found.since is not None:
        answer.in_force_since.FromDatetime(found.since)
    return answer


def _peer_message(peer: Peer, found: InForce) -> messages.Peer:
    way = "" if peer.problem else peer.way
    message = messages.Peer(node=peer.node, pod_cidr=peer.pod_cidr, address=peer.address, way=way, problem=peer.problem)
    if peer.node in found.peers_since:
        message.in_force_since.FromDatetime(found.peers_since[peer.node])
    return message


def _route_message(route: Route, counters: Counters, since: Mapping[Endpoint, float], limits: Sequence[str]) -> messages.Route:
    return messages.Route(
        namespace=route.key.namespace,
        service=route.key.service,
        port_name=route.key.port_name,
        protocol=route.protocol.upper(),
        cluster_ip=route.cluster_ips[0] if route.cluster_ips else "",
        port=route.port,
        node_port=route.node_port,
        endpoints=[_endpoint_message(route, endpoint, counters, since.get(endpoint)) for endpoint in destinations(route)],
        limitations=(*route.limitations, *limits),
        external_ips=(*route.external_ips, *route.host_ips),
        load_balancer_ips=route.load_balancer_ips,
        load_balancer_source_ranges=route.source_ranges,
        internal_traffic_policy=route.internal_policy,
        external_traffic_policy=route.external_policy,
        session_affinity_seconds=route.affinity_seconds,
        health_check_node_port=route.health_check_port,
        announced=route.held,
    )


def _endpoint_message(route: Route, endpoint: Endpoint, counters: Counters, since: float | None) -> messages.Endpoint:
    message = messages.Endpoint(
        address=endpoint.address,
        port=endpoint.port,
        pod=endpoint.pod,
        connections=counters.get((route.key, endpoint), 0),
        local=endpoint in route.local_endpoints,
    )
    if since is not None:
        message.in_force_since.FromNanoseconds(round(since * 1e9))
    return message
