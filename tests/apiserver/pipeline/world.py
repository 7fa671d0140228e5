"""A pipeline over a store in memory whose authorizer, admission and nodes keep what they see."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from google.protobuf.message import Message

from knarr.api.apiserver.v1 import resource_service_pb2 as face
from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import catalog
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Registry, Resource
from services.apiserver.admission import catalog as plugins
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.chain import Chain
from services.apiserver.admission.plugin import Plugin
from services.apiserver.api import Api, Ref, Request
from services.apiserver.backend import Backend, Waits
from services.apiserver.cache.feed import Feed
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.identity.callers import Callers
from services.apiserver.pipeline.pipeline import Pipeline, nobody
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.storage.store import Store
from services.apiserver.tokens.accounts import ServiceAccountTokens
from tests.support.caller import CALLER, Caller
from tests.support.signing import signing_keys


def ref(message: type[Message], name: str = "", subresource: str = "", namespace: str = "default") -> Ref:
    version = version_of(message)
    return Ref(version, namespace if version.resource.namespaced else "", name, subresource)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a plugin was told in one phase; objects as the names of their messages."""

    phase: str
    operation: str
    resource: str
    subresource: str
    namespace: str
    name: str
    obj: str
    old: str
    user: str
    dry_run: bool


class Witness:
    """Takes part in everything. ``act`` is called in each phase with its name and may refuse, wait, or change the object."""

    name: ClassVar[str] = "Witness"

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.act: Callable[[str, Attributes], Awaitable[bool]] | None = None

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        return True

    async def mutate(self, attributes: Attributes) -> bool:
        return await self._see("mutate", attributes)

    async def validate(self, attributes: Attributes) -> None:
        await self._see("validate", attributes)

    async def _see(self, phase: str, attributes: Attributes) -> bool:
        self.seen.append(
            Seen(
                phase, attributes.operation, attributes.resource.plural, attributes.subresource, attributes.namespace, attributes.name,
                _kind(attributes.obj), _kind(attributes.old), attributes.user.name, attributes.dry_run,
            )
        )  # fmt: skip
        return await self.act(phase, attributes) if self.act is not None else False


def _kind(message: Any) -> str:
    return "" if message is None else str(message.DESCRIPTOR.name)


class Guard:
    """Keeps the requests that it is asked about; ``refuse`` is raised when there is one, ``asking`` is waited for."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.refuse: Exception | None = None
        self.asking: Callable[[Request], Coroutine[Any, Any, None]] | None = None

    def authorize(self, request: Request) -> Coroutine[Any, Any, None] | None:
        self.asked.append(request)
        if self.refuse is not None:
            raise self.refuse
        return self.asking(request) if self.asking is not None else None


class Node:
    """Streams a line of output; keeps which pod on which node and container was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    async def logs(self, pod: core.Pod, node: core.Node, request: face.LogRequest) -> AsyncIterator[bytes]:
        self.asked.append((pod.metadata.name, node.metadata.name, request.container))
        yield b"line"

    async def exec(
        self, pod: core.Pod, node: core.Node, start: face.ExecStart, requests: AsyncIterator[face.ExecRequest]
    ) -> AsyncIterator[face.ExecResponse]:
        self.asked.append((pod.metadata.name, node.metadata.name, start.container))
        yield face.ExecResponse(status=meta.Status(status="Success"))

    attach = exec

    async def forward(
        self, pod: core.Pod, node: core.Node, port: int, data: AsyncIterator[bytes], *, by_address: bool = False
    ) -> AsyncIterator[bytes]:
        self.asked.append((pod.metadata.name, node.metadata.name, f"{port} {by_address}"))
        async for piece in data:
            yield piece

    async def connect(self, address: str, port: int, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.asked.append((address, str(port), ""))
        async for piece in data:
            yield piece


@dataclass
class World:
    store: Store
    witness: Witness
    guard: Guard
    node: Node
    caller: Caller
    feed: Feed
    objects: list[Message] = field(default_factory=list)

    def forget(self) -> None:
        """What came before is of no interest."""
        self.witness.seen.clear()
        self.guard.asked.clear()


@contextlib.asynccontextmanager
async def running(
    *others: Plugin,
    store: Store | None = None,
    waits: Waits | None = None,
    seconds: float = 60.0,
    registry: Registry | None = None,
    shared: bool = False,
    fresh: bool = True,
) -> AsyncIterator[World]:
    """A cluster with the namespace ``default`` and its account, admission being the server's own, a witness, and then ``others``.

    ``shared``: other servers write to the store too; not ``fresh``: they have made what a cluster begins with.
    """
    found: Store = store or MemoryStore()
    cache = WatchCache(registry or catalog.registry())
    feed = Feed(found, cache)
    backend = Backend(found, cache, feed, waits=waits, shared=shared)
    witness, guard, node = Witness(), Guard(), Node()
    chain = Chain([*(make(backend) for make in plugins.PLUGINS), witness, *others])
    callers = Callers(nobody, ServiceAccountTokens(signing_keys(), backend))
    api = Api(Pipeline(backend, chain, authorizer=guard, callers=callers, node_streams=node))
    task = asyncio.create_task(feed.run())
    try:
        caller = Caller(api, CALLER, seconds)
        await backend.synced()
        if fresh:
            await caller.create(ref(core.Namespace), namespace("default"), meta.CreateOptions())
            await caller.create(ref(core.ServiceAccount), account(), meta.CreateOptions())
        world = World(found, witness, guard, node, caller, feed)
        world.forget()
        yield world
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def fill(world: World, objects: Sequence[Message]) -> None:
    """Creates objects in ``default`` that a test starts with."""
    for obj in objects:
        await world.caller.create(ref(type(obj)), obj, meta.CreateOptions())
    world.forget()


def namespace(name: str) -> core.Namespace:
    return core.Namespace(metadata=meta.ObjectMeta(name=name))


def account(name: str = "default") -> core.ServiceAccount:
    return core.ServiceAccount(metadata=meta.ObjectMeta(name=name))


def config_map(name: str = "c", **data: str) -> core.ConfigMap:
    return core.ConfigMap(metadata=meta.ObjectMeta(name=name), data=data)


def node(name: str = "n") -> core.Node:
    """As a kubelet registers one, with room for a few pods."""
    made = core.Node(metadata=meta.ObjectMeta(name=name, labels={"kubernetes.io/os": "linux"}))
    for resource, amount in (("cpu", "8"), ("memory", "16Gi"), ("pods", "110")):
        made.status.capacity[resource].string = amount
    return made


def pod(name: str = "p", on: str = "") -> core.Pod:
    made = core.Pod(metadata=meta.ObjectMeta(name=name), spec=core.PodSpec(node_name=on))
    made.spec.containers.add(name="c", image="busybox")
    return made


def deployment(name: str = "d") -> apps.Deployment:
    made = apps.Deployment(metadata=meta.ObjectMeta(name=name))
    made.spec.selector.match_labels["a"] = made.spec.template.metadata.labels["a"] = "b"
    made.spec.template.spec.containers.add(name="c", image="nginx:1")
    return made
