"""What every cluster has from its first moment: its namespaces and the Service of the API server."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import StatusError
from knarr.service.authentication import User
from services.apiserver.api import Api, Ref

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
USER = User("system:apiserver", groups=("system:masters",))
NAME, NAMESPACE = "kubernetes", "default"


async def bootstrap(api: Api, service_address: str) -> None:
    """Creates what is missing; several servers may do so at once."""
    for name in NAMESPACES:
        namespace = core.Namespace()
        namespace.metadata.name = name
        await _ensure(api, namespace)
    await _ensure(api, _service(service_address))


async def _ensure(api: Api, obj: Any) -> None:
    ref = _ref(obj)
    try:
        await api.get(Ref(ref.version, ref.namespace, obj.metadata.name, user=USER))
    except StatusError as error:
        if error.reason != "NotFound":
            raise
        await _create(api, ref, obj)


async def _create(api: Api, ref: Ref, obj: Message) -> None:
    try:
        await api.create(ref, obj, meta.CreateOptions())
    except StatusError as error:
        if error.reason != "AlreadyExists":  # another API server was faster
            raise


def _ref(obj: Any) -> Ref:
    return Ref(version_of(type(obj)), obj.metadata.namespace, user=USER)


def _service(address: str) -> core.Service:
    service = core.Service()
    service.metadata.name, service.metadata.namespace = NAME, NAMESPACE
    service.metadata.labels.update({"component": "apiserver", "provider": "kubernetes"})
    service.spec.type, service.spec.cluster_ip = "ClusterIP", address
    port = service.spec.ports.add(name="https", port=443, protocol="TCP")
    port.target_port.int_val = 6443
    return service
