"""What every cluster has from its first moment: its namespaces and the Service of the API server."""

from __future__ import annotations

import ipaddress
import logging
from typing import Any

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import StatusError
from knarr.machinery.kinds import KINDS
from knarr.service.authentication import User
from services.apiserver.api import Api, Ref

log = logging.getLogger(__name__)

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
USER = User("system:apiserver", groups=("system:masters",))
NAME, NAMESPACE = "kubernetes", "default"


async def bootstrap(api: Api, service_address: str, advertise_address: str, advertise_port: int) -> None:
    """Creates what is missing; moves the endpoints to the address that holds now."""
    for name in NAMESPACES:
        namespace = core.Namespace()
        namespace.metadata.name = name
        await _ensure(api, namespace)
    await _ensure(api, _service(service_address))
    if advertise_address and ipaddress.ip_address(advertise_address).is_loopback:
        log.warning("the kubernetes Service has no endpoint: pods cannot reach a loopback address", extra={"address": advertise_address})
    elif advertise_address:
        await _ensure(api, _endpoints(advertise_address, advertise_port), replace=True)
        await _ensure(api, _slice(advertise_address, advertise_port), replace=True)


async def _ensure(api: Api, obj: Any, *, replace: bool = False) -> None:
    ref = _ref(obj)
    try:
        found: Any = (await api.get(Ref(ref.kind, ref.namespace, obj.metadata.name, user=USER))).message
    except StatusError as error:
        if error.reason != "NotFound":
            raise
        await _create(api, ref, obj)
        return
    content = ("subsets",) if isinstance(obj, core.Endpoints) else ("endpoints", "ports")
    if replace and any(getattr(found, field) != getattr(obj, field) for field in content):
        await api.update(Ref(ref.kind, ref.namespace, obj.metadata.name, user=USER), obj, meta.UpdateOptions())


async def _create(api: Api, ref: Ref, obj: Message) -> None:
    try:
        await api.create(ref, obj, meta.CreateOptions())
    except StatusError as error:
        if error.reason != "AlreadyExists":  # another API server was faster
            raise


def _ref(obj: Any) -> Ref:
    return Ref(KINDS.by_message(type(obj)), obj.metadata.namespace, user=USER)


def _service(address: str) -> core.Service:
    service = core.Service()
    service.metadata.name, service.metadata.namespace = NAME, NAMESPACE
    service.metadata.labels.update({"component": "apiserver", "provider": "kubernetes"})
    service.spec.type, service.spec.cluster_ip = "ClusterIP", address
    port = service.spec.ports.add(name="https", port=443, protocol="TCP")
    port.target_port.int_val = 6443
    return service


def _endpoints(address: str, port: int) -> core.Endpoints:
    endpoints = core.Endpoints()
    endpoints.metadata.name, endpoints.metadata.namespace = NAME, NAMESPACE
    endpoints.metadata.labels["endpointslice.kubernetes.io/skip-mirror"] = "true"
    subset = endpoints.subsets.add()
    subset.addresses.add(ip=address)
    subset.ports.add(name="https", port=port, protocol="TCP")
    return endpoints


def _slice(address: str, port: int) -> discovery.EndpointSlice:
    found = discovery.EndpointSlice(address_type=f"IPv{ipaddress.ip_address(address).version}")
    found.metadata.name, found.metadata.namespace = NAME, NAMESPACE
    found.metadata.labels["kubernetes.io/service-name"] = NAME
    endpoint = found.endpoints.add(addresses=[address])
    endpoint.conditions.ready = True
    found.ports.add(name="https", port=port, protocol="TCP")
    return found
