"""The provider ``local``: reads the Services and decides; the manager writes what it answers.

An address is a Service's while its status says so; what was answered and is not yet seen there is remembered meanwhile. Only the leader
has a provider, so no two give addresses at once. Should a predecessor's late write have given an address twice nevertheless, the elder
Service keeps it and the other gets a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.client.index import Index
from knarr.objects.keys import Key, key_of
from knarr.objects.labels import SERVICE_NAME
from services.cloud.provider import CloudProvider, Environment, ProviderType
from services.cloud.providers.local.decide import (
    NODE_ANNOTATION,
    address_of,
    choose_address,
    choose_node,
    holders,
    is_elder,
    nodes_with_endpoints,
    stays_on_node,
)
from services.cloud.providers.local.pool import Pool
from services.cloud.providers.local.settings import LocalSettings

NAME = "local"
# Stands for all addresses in the index by address.
ANY = "any"
# Addresses given back that rest before they are given anew, so that nobody reaches another's Service by an old address.
RESTING = 256


def _address_index(service: core.Service) -> list[str]:
    address = address_of(service)
    return [] if address is None else [ANY, str(address)]


def _service_index(piece: discovery.EndpointSlice) -> list[str]:
    name = piece.metadata.labels.get(SERVICE_NAME)
    return [] if name is None else [f"{piece.metadata.namespace}/{name}"]


BY_ADDRESS: Index[core.Service] = Index("local/address", _address_index)
BY_SERVICE: Index[discovery.EndpointSlice] = Index("local/service", _service_index)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was answered last for a Service."""

    key: Key
    address: IPv4Address
    node: str


class LocalProvider(CloudProvider):
    def __init__(self, settings: LocalSettings, environment: Environment) -> None:
        self._pool = Pool.parse(settings.pool)
        self._recheck = environment.recheck
        # By the Service's uid.
        self._answers: dict[str, _Answer] = {}
        self._resting: list[IPv4Address] = []
        self._services = environment.informers.get(core.Service)
        self._slices = environment.informers.get(discovery.EndpointSlice)
        self._services.add_index(BY_ADDRESS)
        self._slices.add_index(BY_SERVICE)
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)

    async def get_info(self, request: cloud.GetInfoRequest) -> cloud.GetInfoResponse:
        return cloud.GetInfoResponse(name=NAME, instances=True, load_balancers=True)

    async def get_instance(self, request: cloud.GetInstanceRequest) -> cloud.GetInstanceResponse:
        """Every node is a machine that is there: nobody here knows better."""
        instance = cloud.Instance(state=cloud.INSTANCE_STATE_RUNNING, provider_id=f"{NAME}://{request.node.metadata.name}")
        return cloud.GetInstanceResponse(instance=instance)

    async def ensure_load_balancer(self, request: cloud.EnsureLoadBalancerRequest) -> cloud.EnsureLoadBalancerResponse:
        return cloud.EnsureLoadBalancerResponse(load_balancer=self._decide(request.service, [node.metadata.name for node in request.nodes]))

    async def update_load_balancer(self, request: cloud.UpdateLoadBalancerRequest) -> cloud.UpdateLoadBalancerResponse:
        return cloud.UpdateLoadBalancerResponse(load_balancer=self._decide(request.service, [node.metadata.name for node in request.nodes]))

    async def delete_load_balancer(self, request: cloud.DeleteLoadBalancerRequest) -> cloud.DeleteLoadBalancerResponse:
        self._rest(request.service)
        return cloud.DeleteLoadBalancerResponse(annotations={NODE_ANNOTATION: ""})

    def _decide(self, service: core.Service, candidates: list[str]) -> cloud.LoadBalancer:
        """Without waiting in between, so that no two Services are decided on at once."""
        uid, key = service.metadata.uid, key_of(service)
        last = self._answers.get(uid)
        current = last.address if last is not None else address_of(service)
        holder = last.node if last is not None else service.metadata.annotations.get(NODE_ANNOTATION, "")
        address = choose_address(service, current, self._taken(service), self._pool, self._resting)
        with_endpoints = self._with_endpoints(key) if stays_on_node(service) else None
        node = choose_node(candidates, holder, self._counts(service), with_endpoints)
        self._answers[uid] = _Answer(key, address, node)
        answer = cloud.LoadBalancer(annotations={NODE_ANNOTATION: node})
        answer.status.ingress.add(ip=str(address), ip_mode="VIP")
        return answer

    def _holding(self) -> Sequence[core.Service]:
        """The Services whose status tells of an address."""
        return self._services.store.index(BY_ADDRESS, ANY)

    def _taken(self, service: core.Service) -> dict[IPv4Address, core.Service]:
        """The addresses of others, by what is written and by what was answered last."""
        uid = service.metadata.uid
        taken = holders(one for one in self._holding() if one.metadata.uid != uid)
        for other, last in self._answers.items():
            owner = self._services.store.get(*last.key)
            if owner is not None and owner.metadata.uid == other != uid:
                taken[last.address] = owner
        mine = address_of(service)
        if mine is not None and mine in taken and is_elder(service, taken[mine]):
            del taken[mine]
        return taken

    def _counts(self, service: core.Service) -> Counter[str]:
        """For how many other addresses each node answers."""
        nodes = {one.metadata.uid: one.metadata.annotations.get(NODE_ANNOTATION, "") for one in self._holding()}
        nodes.update({uid: last.node for uid, last in self._answers.items()})
        nodes.pop(service.metadata.uid, None)
        return Counter(nodes.values())

    def _with_endpoints(self, key: Key) -> set[str]:
        return nodes_with_endpoints(self._slices.store.index(BY_SERVICE, str(key)))

    def _rest(self, service: core.Service) -> None:
        last = self._answers.pop(service.metadata.uid, None)
        address = last.address if last is not None else address_of(service)
        if address is not None:
            self._resting = [*(found for found in self._resting if found != address), address][-RESTING:]

    def _service_changed(self, old: core.Service | None, new: core.Service | None) -> None:
        if new is None:
            if old is not None:
                self._rest(old)
            return
        address = address_of(new)
        if address is None or (old is not None and address_of(old) == address):
            return
        for other in self._services.store.index(BY_ADDRESS, str(address)):
            if other.metadata.uid != new.metadata.uid:
                self._recheck(key_of(new if is_elder(other, new) else other))

    def _slice_changed(self, old: discovery.EndpointSlice | None, new: discovery.EndpointSlice | None) -> None:
        """A node that has lost the last endpoint of a Service whose traffic stays on the node no longer answers for it."""
        piece = new if new is not None else old
        if piece is None or SERVICE_NAME not in piece.metadata.labels:
            return
        key = Key(piece.metadata.namespace, piece.metadata.labels[SERVICE_NAME])
        service = self._services.store.get(*key)
        if service is None or not stays_on_node(service) or service.metadata.uid not in self._answers:
            return
        fit = self._with_endpoints(key)
        if fit and self._answers[service.metadata.uid].node not in fit:
            self._recheck(key)


PROVIDER = ProviderType(LocalSettings, LocalProvider)
