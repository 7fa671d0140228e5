"""An API server without etcd, network and threads: the whole pipeline on a store in memory.

For tests of what uses the API: defaults, validation, admission, conflicts and watches are those of a cluster. It makes no
objects of its own but the namespaces that every cluster has, with their default accounts, and it does none of a server's chores
(compaction, repair).

    async with ApiInMemory() as api:
        await api.client().create(obj)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import invalid
from knarr.machinery.resources import Version, served
from knarr.objects.copies import copy_of
from knarr.objects.names import generated, new_uid
from knarr.service.authentication import User
from services.apiserver.admission.catalog import PLUGINS, Factory
from services.apiserver.audit.auditor import Auditor
from services.apiserver.authorization import Authorizer
from services.apiserver.backend import serialize
from services.apiserver.bootstrap import NAMESPACES
from services.apiserver.component import ApiServer
from services.apiserver.pipeline.pipeline import nobody
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.keys import collection_prefix, object_key
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.storage.store import Put, Transaction
from services.apiserver.strategies import strategy_for
from services.apiserver.strategies.metadata import validate_object_meta
from services.apiserver.tokens.keys import SigningKeys

M = TypeVar("M", bound=Message)

NAMESPACE = version_of(core.Namespace)
ADMIN = User("admin", groups=("system:masters",))
SETTINGS = ApiServerSettings()


class ApiInMemory:
    """One cluster's objects and the API server before them. ``clock`` stamps objects; ``seed`` decides names, uids, addresses and ports.

    ``plugins`` admit what clients write, ``authorizer`` says who may ask; what is seeded passes neither. ``keys`` sign tokens. Of a
    ``store`` that is given the objects are taken over, as by a server that starts again. Of what is audited nothing is written unless
    somebody runs the ``auditor``.
    It may be made and seeded before there is an event loop. Requests wait until it is started.
    """

    def __init__(
        self,
        clock: Clock = SYSTEM_CLOCK,
        seed: int = 0,
        settings: ApiServerSettings = SETTINGS,
        *,
        plugins: Sequence[Factory] = PLUGINS,
        authorizer: Authorizer | None = None,
        authenticate: Callable[[str], User] = nobody,
        store: MemoryStore | None = None,
        keys: SigningKeys | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        self.clock = clock
        self.store = store or MemoryStore()
        self._source = random.Random(seed)
        self.server = ApiServer(
            settings,
            _no_kubelet,
            store=self.store,
            clock=clock,
            source=self._source,
            plugins=plugins,
            authorizer=authorizer,
            authenticate=authenticate,
            keys=keys,
            auditor=auditor,
        )
        self._tasks: list[asyncio.Task[None]] = []
        for name in NAMESPACES:
            self._ensure_namespace(name)

    def start(self) -> None:
        """Lets the server follow its store, until ``stop`` or the end of the running loop."""
        if not self._tasks:
            loop, server = asyncio.get_running_loop(), self.server
            self._tasks = [
                loop.create_task(work.run(), name=f"api in memory/{type(work).__name__}") for work in (server.feed, server.definitions)
            ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        await self.server.hang_up()

    async def __aenter__(self) -> ApiInMemory:
        self.start()
        await self.settle()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def settle(self) -> None:
        """Waits until requests are answered from all that is stored now, seeds included."""
        await self.server.backend.synced()
        await self.server.backend.reach(self.store.revision)

    def client(self, user: User = ADMIN) -> Client:
        """What a component of this process would use, as ``user``."""
        return self.server.client(user)

    def seed(self, *objects: Message, checked: bool = True) -> None:
        """Stores objects as if they had been there before, status included; one that is there already is replaced.

        What a create would have added is added: defaults, name from generateName, uid, creationTimestamp, generation, a first
        status where none is given; also the namespace.
        Raises Invalid for an object that no server would have stored; unless ``checked``, it is from before there was the rule.
        """
        for obj in objects:
            self._seed(copy_of(obj), checked)

    def all(self, message: type[M], namespace: str = "") -> list[M]:
        """What is stored, in the order of namespaces and names; the caller's own."""
        version = served(self.server.registry.of(message), message)
        entries = map(self.server.backend.cache.entry, self.store.items(collection_prefix(version.resource, namespace)))
        return [entry.served(version).message for entry in entries if entry is not None]  # type: ignore[misc]

    def _seed(self, obj: Any, checked: bool) -> None:
        given_as = served(self.server.registry.of(type(obj)), type(obj))
        obj, version = given_as.to_storage(obj), given_as.resource.storage
        metadata = obj.metadata
        if not metadata.name and metadata.generate_name:
            metadata.name = generated(metadata.generate_name, self._source)
        metadata.uid = metadata.uid or new_uid(self._source)
        if not metadata.HasField("creation_timestamp"):
            metadata.creation_timestamp.seconds = int(self.clock.now().timestamp())
        strategy = strategy_for(version)
        strategy.default(obj)
        given = copy_of(obj)
        strategy.prepare_for_create(obj)
        metadata.generation = given.metadata.generation or metadata.generation
        if "status" in obj.DESCRIPTOR.fields_by_name and given.HasField("status"):
            obj.status.CopyFrom(given.status)
        refused = [
            *validate_object_meta(metadata, namespaced=version.resource.namespaced, name_format=strategy.name_format),
            *strategy.validate(obj),
        ]
        if refused and checked:
            raise invalid(version.kind, metadata.name, refused, version.group)
        if version.resource.namespaced:
            self._ensure_namespace(metadata.namespace)
        self._put(version, obj)

    def _put(self, version: Version, obj: Any) -> None:
        key = object_key(version.resource, obj.metadata.namespace, obj.metadata.name)
        self.store.apply(Transaction({}, [Put(key, self.server.backend.cache.values.value(version.resource, key, serialize(obj)))]))

    def _ensure_namespace(self, name: str) -> None:
        """With the account as which its pods run."""
        key = object_key(NAMESPACE.resource, "", name)
        if any(item.key == key for item in self.store.items(key)):
            return
        self._seed(core.Namespace(metadata=meta.ObjectMeta(name=name)), checked=True)
        self._seed(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace=name)), checked=True)


def _no_kubelet(node: str, address: str) -> NoReturn:
    raise RuntimeError(f"there is no kubelet of {node} at {address}: this API server is all there is")
