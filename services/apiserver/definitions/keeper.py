"""Keeps what is served in step with the CustomResourceDefinitions that are stored.

Every API server does so for itself, from its own cache: what is established is served before the first request is answered after a
start, and within an instant later on. Any of them accepts names and lets objects go; they come to the same, and who is late finds it done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.backoff import Backoff
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.machinery.resources import Registry, Resource
from knarr.objects.conditions import is_true, set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.service.collector import tell_gone
from services.apiserver.api import Api
from services.apiserver.aside import aside
from services.apiserver.bootstrap import USER
from services.apiserver.definitions.names import ESTABLISHED, TERMINATING, Group, built_in_names, status_of
from services.apiserver.entry import Entry
from services.apiserver.request import DELETE_COLLECTION, UPDATE, Request
from services.apiserver.results import Ref
from services.apiserver.strategies.customresourcedefinition.strategy import FINALIZER

log = logging.getLogger(__name__)

DEFINITION = version_of(apiextensions.CustomResourceDefinition)
RETRY = Backoff(first_seconds=0.1, limit_seconds=5.0)
# How long at most until it is looked again whether the last objects of a definition that goes are gone.
LOOK_SECONDS = 30.0

# What of a definition decides what is served for it.
Form = tuple[bytes, bytes]


class Definitions:
    """``load`` when the cache is loaded; ``run`` once, until cancelled."""

    def __init__(self, api: Api, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._api, self._registry, self._clock = api, registry, clock
        registry.subscribe(_forget)
        self._cache = api.pipeline.backend.cache
        self._built_in = list(registry)
        # By the name of the definition: what was made of it, and the resource, None where nothing is served.
        self._served: dict[str, tuple[Form, Resource | None]] = {}
        self._going: dict[str, asyncio.Task[None]] = {}
        # By group and name of the definition the revision that was seen to.
        self._seen: dict[str, dict[str, int]] = {}

    def load(self) -> None:
        """Serves at once what the cache knows to be established. Synchronous: nobody is answered before."""
        for entry in self._entries():
            self._serve(entry, _made(entry))
        self._drop()

    async def run(self) -> None:
        if DEFINITION.resource not in self._registry:
            return
        collection = self._cache.collection(DEFINITION.resource)
        async with asyncio.TaskGroup() as tasks:
            failures = 0
            while True:
                seen = collection.history.end
                try:
                    await self._keep(tasks)
                    failures = 0
                except StatusError as error:
                    failures += 1
                    log.warning("definitions cannot be kept up, trying again: %s", error.status.message)
                    await asyncio.sleep(RETRY.delay(failures))
                    continue
                if collection.history.end == seen:
                    await collection.changed(LOOK_SECONDS)

    def _entries(self) -> Iterator[Entry]:
        if DEFINITION.resource in self._registry:
            yield from self._cache.collection(DEFINITION.resource).listing(DEFINITION.resource.key_prefix)

    async def _keep(self, tasks: asyncio.TaskGroup) -> None:
        """Sees to the groups in which something changed: names are shared within a group, and nothing else is."""
        self._drop()
        groups: dict[str, list[Entry]] = {}
        for entry in self._entries():
            groups.setdefault(entry.shared_message.spec.group, []).append(entry)
        for gone in self._seen.keys() - groups.keys():
            del self._seen[gone]
        for group, entries in groups.items():
            revisions = {entry.name: entry.revision for entry in entries}
            if self._seen.get(group) != revisions:
                await self._see_to(tasks, group, entries)
                self._seen[group] = revisions

    async def _see_to(self, tasks: asyncio.TaskGroup, group: str, entries: list[Entry]) -> None:
        seen = self._seen.get(group, {})
        names: Group | None = None
        for entry in entries:
            definition = entry.shared_message
            if is_deleting(definition):
                self._let_go(tasks, definition)
                continue
            names = names or self._names(group)
            if await self._name(definition, names):
                names = None
            if seen.get(entry.name) != entry.revision and self._is_new(entry):
                made = await aside(len(entry.raw), _made, entry)
                self._serve(entry, made)

    # What is served.

    def _is_new(self, entry: Entry) -> bool:
        known = self._served.get(entry.name)
        return known is None or known[0] != _form(entry.shared_message)

    def _serve(self, entry: Entry, made: Resource | None) -> None:
        form, known = _form(entry.shared_message), self._served.get(entry.name)
        if known is not None and known[0] == form:
            return
        before = known[1] if known is not None else None
        self._served[entry.name] = (form, None)
        try:
            if made is not None and before is not None:
                self._registry.replace(before, made)
            elif made is not None:
                self._registry.add(made)
            elif before is not None:
                self._registry.remove(before)
        except ValueError as error:
            if before is not None and before in self._registry:
                self._registry.remove(before)
            log.error("what a definition defines cannot be served: %s", error, extra={"definition": entry.name})
            return
        self._served[entry.name] = (form, made)

    def _drop(self) -> None:
        """Serves no more what is defined no more."""
        for name in self._served.keys() - {entry.name for entry in self._entries()}:
            _, resource = self._served.pop(name)
            if resource is not None:
                self._registry.remove(resource)

    # Names.

    def _names(self, group: str) -> Group:
        found = (entry.shared_message for entry in self._entries())
        return Group((definition for definition in found if definition.spec.group == group), built_in_names(group, self._built_in))

    async def _name(self, definition: Any, names: Group) -> bool:
        """Gives a definition the names that are free; whether that took a write, by which ``names`` are others now."""
        wanted = status_of(definition, names, self._clock())
        if wanted == definition.status:
            return False
        changed = copy_of(definition)
        changed.status.CopyFrom(wanted)
        await self._write(changed)
        return True

    async def _write(self, definition: Any) -> bool:
        """Writes a status; False when something else was written meanwhile, of which the cache will tell."""
        ref = Ref(DEFINITION, "", definition.metadata.name, "status")
        try:
            await self._api.update(Request(USER, UPDATE, ref, meta.UpdateOptions()), definition)
        except (Conflict, NotFound):
            return False
        return True

    # The end.

    def _let_go(self, tasks: asyncio.TaskGroup, definition: Any) -> None:
        known = self._served.get(definition.metadata.name)
        if known is not None and known[1] is not None:
            known[1].close()
        name = definition.metadata.name
        if FINALIZER in definition.metadata.finalizers and name not in self._going:
            self._going[name] = task = tasks.create_task(self._empty(name), name=f"apiserver/definitions {name}")
            task.add_done_callback(lambda _: self._going.pop(name, None))

    async def _empty(self, name: str) -> None:
        """Deletes the objects of a definition that goes, waits until they are gone, and lets it go too."""
        failures = 0
        while True:
            try:
                if await self._emptied(name):
                    return
                failures = 0
            except StatusError as error:
                failures += 1
                log.warning(
                    "the objects of a definition cannot be deleted, trying again: %s", error.status.message, extra={"definition": name}
                )
                await self._say(name, "True", "InstanceDeletionFailed", f"could not issue all deletes: {error.status.message}")
            await asyncio.sleep(RETRY.delay(failures + 1))

    async def _emptied(self, name: str) -> bool:
        """One attempt; answers whether the definition is gone, or no longer going."""
        definition = self._present(name)
        if definition is None or FINALIZER not in definition.metadata.finalizers:
            return True
        resource = self._served.get(name, (None, None))[1]
        if resource is None or not is_true(definition.status, ESTABLISHED):
            return await self._say(name, "False", "NeverEstablished", "resource was never established", last=True)
        await self._say(name, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        ref = Ref(resource.storage)
        await self._api.delete_collection(Request(USER, DELETE_COLLECTION, ref, meta.DeleteOptions()), meta.ListOptions())
        collection = self._cache.collection(resource)
        if len(collection):
            await collection.changed(LOOK_SECONDS)
            return False
        return await self._say(name, "False", "InstanceDeletionCompleted", "removed all instances", last=True)

    async def _say(self, name: str, value: str, reason: str, message: str, *, last: bool = False) -> bool:
        """Writes how far it is; with ``last`` the definition may go. Answers whether it was written."""
        definition = self._present(name)
        if definition is None:
            return True
        changed = copy_of(definition)
        told = set_condition(changed.status, TERMINATING, value, reason=reason, message=message, now=self._clock())
        if told and not await self._write(changed):
            return False
        if not last:
            return True
        changed = copy_of(self._present(name) or definition)
        if FINALIZER in changed.metadata.finalizers:
            changed.metadata.finalizers.remove(FINALIZER)
        ref = Ref(DEFINITION, "", name)
        with contextlib.suppress(Conflict, NotFound):
            await self._api.update(Request(USER, UPDATE, ref, meta.UpdateOptions()), changed)
            return True
        return False

    def _present(self, name: str) -> Any | None:
        entry = self._cache.get(DEFINITION.resource, "", name)
        return entry.shared_message if entry is not None else None


def _made(entry: Entry) -> Resource | None:
    """The resource that a definition defines; None while it is not established."""
    definition = entry.shared_message
    if not is_true(definition.status, ESTABLISHED):
        return None
    # What custom resources stand on is loaded with the first of them.
    from knarr.machinery.custom.definitions import resource_of

    return resource_of(definition)


def _form(definition: Any) -> Form:
    accepted = definition.status.accepted_names.SerializeToString(deterministic=True) if is_true(definition.status, ESTABLISHED) else b""
    return definition.spec.SerializeToString(deterministic=True), accepted


def _forget(old: Resource | None, new: Resource | None) -> None:
    """A resource and its versions hold one another, and with them a schema of up to megabytes."""
    if old is not None:
        tell_gone()
