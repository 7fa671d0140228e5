"""What every cluster has from its first moments: namespaces, the Service of the API server, the system's priorities, a class of storage."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.machinery.errors import AlreadyExists, NotFound
from knarr.objects import built_ins, local_path
from knarr.service.authentication import User
from services.apiserver.strategies.priorityclass import system_classes

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
USER = User("system:apiserver", groups=("system:masters",))
NAME, NAMESPACE = "kubernetes", "default"


def service_names(domain: str = "cluster.local") -> list[str]:
    """The names by which pods know the API server, and its certificate must; ``domain`` ends all names of the cluster."""
    return [NAME, f"{NAME}.{NAMESPACE}", f"{NAME}.{NAMESPACE}.svc", f"{NAME}.{NAMESPACE}.svc.{domain}"]


async def bootstrap(client: Client, service_address: str) -> None:
    """Creates what is missing; several servers may do so at once."""
    await asyncio.gather(*(ensure(client, core.Namespace(metadata=meta.ObjectMeta(name=name))) for name in NAMESPACES))
    classes = [] if await _is_off(client, built_ins.LOCAL_PATH) else [local_path.default_class()]
    await asyncio.gather(*(ensure(client, wanted) for wanted in (_service(service_address), *classes, *system_classes())))


async def _is_off(client: Client, name: str) -> bool:
    try:
        return built_ins.is_off(await client.get(core.ConfigMap, built_ins.NAME, built_ins.NAMESPACE), name)
    except NotFound:
        return False


async def ensure(client: Client, obj: Any) -> None:
    """Creates an object unless it is there."""
    try:
        await client.get(type(obj), obj.metadata.name, obj.metadata.namespace)
    except NotFound:
        with suppress(AlreadyExists):  # another API server was faster
            await client.create(obj)


def _service(address: str) -> core.Service:
    service = core.Service()
    service.metadata.name, service.metadata.namespace = NAME, NAMESPACE
    service.metadata.labels.update({"component": "apiserver", "provider": "kubernetes"})
    service.spec.type, service.spec.cluster_ip = "ClusterIP", address
    port = service.spec.ports.add(name="https", port=443, protocol="TCP")
    port.target_port.int_val = 6443
    return service
