"""Garbage collector: deletes what nobody owns any longer, in the order its owners ask for.

Kinds that other controllers watch anyway are read from their informers; of all others only metadata
is kept. What other API servers serve, by an APIService, is no exception; but nothing waits for one that
is away except what only it can answer. Before it deletes it reads the object, and every owner that it believes absent, from the
server, and deletes that very revision only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.message import Message

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.client.events import WARNING
from knarr.client.informer import Informer
from knarr.client.reconciler import Again, Terminal
from knarr.machinery import catalog
from knarr.machinery.errors import NotFound, StatusError
from knarr.machinery.resources import Registry, Resource, Version
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, metadata_of
from services.controller.controller import Context, Controller
from services.controller.controllers.garbagecollector.decide import (
    Action,
    Delete,
    DropOwners,
    LookAt,
    OwnerState,
    RemoveFinalizer,
    Unblock,
    decide,
)
from services.controller.controllers.garbagecollector.graph import ORPHAN, Graph, Item, Owner, item_of
from services.controller.watching import Watching

log = logging.getLogger(__name__)

REMEMBERED_ABSENT = 10_000
PAGE_SIZE = 500
# They come and go by the thousand, and expire by themselves.
IGNORED = frozenset({"events"})
# How often to ask what is served, as Kubernetes does; how soon again when that failed, and after a definition changed.
DISCOVERY_SECONDS, RETRY_SECONDS = 30.0, 1.0
# How long the first look at everything may take, as in Kubernetes.
SYNC_SECONDS = 30.0


def collected(resource: Resource) -> bool:
    """Whether objects of the resource may be owned and deleted."""
    return resource.plural not in IGNORED and {"list", "watch", "delete"} <= set(resource.verbs)


class GarbageCollector(Controller):
    name = "garbagecollector"
    speaks_as = "garbage-collector-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._served = catalog.registry()
        self.graph = Graph(self._find)
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._watching = Watching(self.name, self.client, context.informers, lambda resource: self._changed)
        self._defined = asyncio.Event()

    def _find(self, api_version: str, kind: str) -> Version | None:
        group, _, version = api_version.rpartition("/")
        return self._served.named(group, version, kind)

    def _changed(self, old: Message | None, new: Message | None) -> None:
        if isinstance(new or old, apiextensions.CustomResourceDefinition | apiregistration.APIService):
            self._defined.set()
        if new is not None:
            self._look(*self.graph.observe(item_of(new)))
        elif old is not None:
            self._gone(metadata_of(old).uid)

    def _look(self, *uids: str) -> None:
        for uid in uids:
            self.queue.enqueue(Key("", uid))

    def _gone(self, uid: str) -> None:
        """Uids never come back, so an absence once seen holds for ever."""
        self._absent[uid] = None
        if len(self._absent) > REMEMBERED_ABSENT:
            self._absent.popitem(last=False)
        self._look(*self.graph.remove(uid))

    async def run(self) -> None:
        """By now every controller has said what it reads."""
        async with asyncio.TaskGroup() as group:
            self._watching.begin(group)
            await self._wait_synced(await self._learn())
            group.create_task(self._keep_learning(), name="garbagecollector discovery")
            await super().run()

    async def _wait_synced(self, informers: Sequence[Informer[Any]]) -> None:
        """What cannot be listed now is heard of later: a server of somebody else's may be away for long."""
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                for informer in informers:
                    await informer.wait_synced()
        except TimeoutError:
            away = sorted(informer.kind for informer in informers if not informer.synced)
            log.warning("garbage collection begins without all kinds, those are heard of later: %s", ", ".join(away))

    async def _keep_learning(self) -> None:
        """What is served from now on is watched; what is served no more is watched no longer."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DISCOVERY_SECONDS):
                    await self._defined.wait()
                    # Soon its resource is served, and others may follow.
                    await asyncio.sleep(RETRY_SECONDS)
            self._defined.clear()
            await self._learn()

    async def _learn(self) -> list[Informer[Any]]:
        """Asks what is served now; answers the informers that it has started."""
        while True:
            try:
                self._served = Registry(tuple(await self.client.resources()))
                break
            except StatusError as error:
                log.warning("what is served cannot be learned, trying again: %s", error.status.message)
                await asyncio.sleep(RETRY_SECONDS)
        self._look(*self.graph.learned())
        return self._watching.keep(resource for resource in self._served if collected(resource))

    # Reconcile; the key's name is a uid.

    async def reconcile(self, key: Key) -> Again | None:
        item = self.graph.get(key.name)
        if item is None or self._kept_alive(item):
            return None
        obj = await self._read(item.api_version, item.kind, item.namespace, item.name)
        if obj is None or metadata_of(obj).uid != item.uid:
            self._gone(item.uid)
            return None
        if item.virtual:
            return None
        live = item_of(obj)
        self._tell_foreign(obj, live)
        states = {owner.uid: await self._state(live, owner) for owner in live.owners}
        action = decide(live, self.graph.dependents(live.uid), states, circle=self.graph.in_circle(live))
        if action is not None:
            await self._act(obj, action)
        return None

    def _tell_foreign(self, obj: Any, item: Item) -> None:
        """Says, in Kubernetes' words, which owners are known to lie in another namespace: such references count as dangling."""
        for owner in item.owners:
            known = self.graph.get(owner.uid)
            if known is not None and not known.virtual and known.namespace not in ("", item.namespace):
                shown = f"[{owner.api_version}/{owner.kind}, namespace: {item.namespace}, name: {owner.name}, uid: {owner.uid}]"
                message = f'ownerRef {shown} does not exist in namespace "{item.namespace}"'
                self.recorder.event(obj, WARNING, "OwnerRefInvalidNamespace", message)

    def _kept_alive(self, item: Item) -> bool:
        """The common case, told without asking the server: not deleted, and all owners are there."""
        if item.deleting or item.virtual:
            return False
        return all(self._known_state(item, owner) is OwnerState.SOLID for owner in item.owners)

    def _known_state(self, item: Item, owner: Owner) -> OwnerState | None:
        """An owner's state as far as the graph knows it; None when the server must be asked."""
        if owner.uid in self._absent:
            return OwnerState.ABSENT
        known = self.graph.get(owner.uid)
        same = (owner.api_version, owner.kind, owner.name)
        if known is None or known.virtual or (known.api_version, known.kind, known.name) != same:
            return None
        if known.namespace not in ("", item.namespace):
            return None
        return OwnerState.WAITING if known.deleting_dependents else OwnerState.SOLID

    async def _state(self, item: Item, owner: Owner) -> OwnerState:
        known = self._known_state(item, owner)
        if known is not None:
            return known
        version = self._find(owner.api_version, owner.kind)
        if version is None or (version.resource.namespaced and not item.namespace):
            # Nobody can tell whether it exists; what cannot be told keeps its dependents.
            return OwnerState.SOLID
        obj = await self._read(owner.api_version, owner.kind, item.namespace if version.resource.namespaced else "", owner.name)
        if obj is None or metadata_of(obj).uid != owner.uid:
            return OwnerState.ABSENT
        return OwnerState.WAITING if item_of(obj).deleting_dependents else OwnerState.SOLID

    async def _read(self, api_version: str, kind_name: str, namespace: str, name: str) -> Message | None:
        """None when there is no such object. Raises Terminal for what cannot be looked up."""
        version = self._find(api_version, kind_name)
        if version is None or (version.resource.namespaced and not namespace):
            raise Terminal(f"{api_version} {kind_name} {name} cannot be looked up")
        try:
            return await self.client.get(version.message, name, namespace)
        except NotFound:
            return None

    # Actions.

    async def _act(self, obj: Any, action: Action) -> None:
        match action:
            case Delete(policy, unblock):
                if unblock:
                    obj = await self.client.update(_unblocked(obj))
                await self._delete(obj, policy)
            case Unblock():
                await self._update(_unblocked(obj))
            case DropOwners(uids):
                await self._drop_owners(obj, uids)
            case RemoveFinalizer(finalizer):
                if finalizer == ORPHAN:
                    await self._orphan_dependents(obj)
                obj.metadata.finalizers.remove(finalizer)
                await self._update(obj)
            case LookAt(uids):
                self._look(*uids)

    async def _delete(self, obj: Any, policy: str) -> None:
        metadata = metadata_of(obj)
        with contextlib.suppress(NotFound):
            await self.client.delete(
                type(obj),
                metadata.name,
                metadata.namespace,
                propagation_policy=policy,
                uid=metadata.uid,
                resource_version=metadata.resource_version,
            )

    async def _orphan_dependents(self, owner: Any) -> None:
        """By the server's word: the watch of another kind may be behind, and what is not known to depend now would be deleted later."""
        uid = owner.metadata.uid
        for resource in self._served:
            if collected(resource) and (resource.namespaced or not owner.metadata.namespace):
                try:
                    await self._orphan(resource, owner.metadata.namespace, uid)
                except StatusError:
                    # One that is away must not hold the owner of what others have. Kubernetes takes its own word for all of them.
                    if resource.storage.form.has_message or any(
                        self._find(item.api_version, item.kind) in resource.versions for item in self.graph.dependents(uid)
                    ):
                        raise

    async def _orphan(self, resource: Resource, namespace: str, uid: str) -> None:
        async for page in self._pages(resource.storage.message, namespace):
            dependents = (obj for obj in page if any(ref.uid == uid for ref in obj.metadata.owner_references))
            await asyncio.gather(*(self._drop_owners(copy_of(obj), frozenset({uid})) for obj in dependents))

    async def _pages(self, message: type[Message], namespace: str) -> AsyncIterator[Sequence[Any]]:
        token = ""
        while True:
            page = await self.client.list(message, namespace, limit=PAGE_SIZE, continue_token=token)
            yield page.items
            token = page.continue_token
            if not token:
                return

    async def _drop_owners(self, obj: Any, uids: frozenset[str]) -> None:
        kept = [ref for ref in obj.metadata.owner_references if ref.uid not in uids]
        if len(kept) < len(obj.metadata.owner_references):
            del obj.metadata.owner_references[:]
            obj.metadata.owner_references.extend(kept)
            await self._update(obj)

    async def _update(self, obj: Any) -> None:
        with contextlib.suppress(NotFound):
            await self.client.update(obj)


def _unblocked(obj: Any) -> Any:
    for ref in obj.metadata.owner_references:
        ref.block_owner_deletion = False
    return obj
