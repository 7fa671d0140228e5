"""Clients that write and read at random, and ones that list, watch, and go on where they were."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Expired, NotFound, StatusError, Timeout
from services.apiserver.api import Ref
from services.apiserver.entry import Entry
from tests.history.cluster import NAMESPACE, REF, Cluster
from tests.history.records import OK, REFUSED, TOKEN, UNKNOWN, Operation, Seen, Segment, State

KEYS = ("a", "b", "c", "d", "e", "f")
COUNTER = "counter"
THINK_SECONDS = 0.004
KINDS = {
    "create": 3,
    "update": 4,
    "patch": 3,
    "json patch": 2,
    "apply": 3,
    "delete": 2,
    "get": 3,
    "list": 2,
    "count": 3,
    "delete unseen": 1,
}


def named(name: str) -> Ref:
    return Ref(REF.version, NAMESPACE, name)


def state(entry: Entry) -> State:
    message: Any = entry.shared_message
    return State(entry.revision, message.metadata.uid, dict(message.data))


def config_map(name: str, data: dict[str, str], revision: int = 0) -> core.ConfigMap:
    obj = core.ConfigMap(data=data)
    obj.metadata.name, obj.metadata.resource_version = name, str(revision or "")
    return obj


class Client:
    """Makes one call after the other, each at one of the servers."""

    def __init__(self, name: str, cluster: Cluster, source: random.Random) -> None:
        self.name, self._cluster, self._source = name, cluster, source
        self._tokens = 0

    def token(self) -> str:
        self._tokens += 1
        return f"{self.name}-{self._tokens}"

    async def run(self) -> None:
        kinds, weights = list(KINDS), list(KINDS.values())
        while True:
            await self._cluster.open.wait()
            self._cluster.busy += 1
            try:
                await self._one(self._source.choices(kinds, weights)[0])
            finally:
                self._cluster.busy -= 1
            await asyncio.sleep(self._source.uniform(0, 2 * THINK_SECONDS))

    async def _one(self, kind: str) -> None:
        name = self._source.choice(KEYS)
        match kind:
            case "create":
                await self.create(name)
            case "patch":
                await self._patch(name, "merge")
            case "json patch":
                await self._patch(name, "json")
            case "apply":
                await self._apply(name)
            case "list":
                await self.list()
            case "get":
                await self.get(name)
            case "count":
                found = await self.get(COUNTER)
                if found is not None:
                    data = {"n": str(int(found.data.get("n", "0")) + 1), TOKEN: self.token()}
                    await self._replace("count", COUNTER, data, found.revision)
                else:
                    await self.create(COUNTER)
            case "update":
                found = await self.get(name)
                if found is not None:
                    await self._replace("update", name, {TOKEN: self.token()}, found.revision)
            case _:
                found = await self.get(name)
                if found is not None:
                    await self._delete(name, found, guarded=kind == "delete")

    async def get(self, name: str) -> State | None:
        any_age = self._source.random() < 0.15
        operation = self._begin("get", name)
        operation.any_age = any_age

        async def call(server: int) -> None:
            with contextlib.suppress(NotFound):
                entry = (await self._cluster.callers[server].get(named(name), "0" if any_age else "")).entry
                assert entry is not None
                operation.items[name] = state(entry)
                operation.revision = entry.revision

        await self._call(operation, call)
        return operation.items.get(name) if operation.outcome == OK else None

    async def list(self) -> Operation:
        """In pages, each at one of the servers."""
        operation, limit = self._begin("list"), self._source.choice((0, 0, 1, 2, 3))

        async def call(server: int) -> None:
            options = meta.ListOptions(limit=limit)
            while True:
                page = await self._cluster.callers[server].list(REF, options)
                assert operation.revision in (0, page.revision), f"pages at {operation.revision} and {page.revision}: {operation}"
                operation.revision = page.revision
                operation.items |= {entry.name: state(entry) for entry in page.entries}
                if not page.continue_token:
                    return
                options = meta.ListOptions(limit=limit, continue_token=page.continue_token)
                server = self._server()

        await self._call(operation, call)
        return operation

    async def create(self, name: str) -> Operation:
        operation = self._begin("create", name, self.token())
        operation.data = {TOKEN: operation.token, "n": "0"}

        async def call(server: int) -> None:
            written = await self._cluster.callers[server].create(REF, config_map(name, operation.data), meta.CreateOptions())
            operation.revision = written.entry.revision  # type: ignore[union-attr]

        await self._call(operation, call)
        return operation

    async def _replace(self, kind: str, name: str, data: dict[str, str], revision: int) -> None:
        operation = self._begin(kind, name, data[TOKEN])
        operation.data, operation.guard = data, revision

        async def call(server: int) -> None:
            written = await self._cluster.callers[server].update(named(name), config_map(name, data, revision), meta.UpdateOptions())
            operation.revision = written.entry.revision  # type: ignore[union-attr]

        await self._call(operation, call)

    async def _patch(self, name: str, patch_type: str) -> None:
        operation = self._begin("patch" if patch_type == "merge" else "json patch", name, self.token())
        operation.data = {TOKEN: operation.token}
        patch: Any = {"data": operation.data}
        if patch_type == "json":
            # Carried out twice, it would be seen by its second result.
            move = {"op": "move", "from": f"/data/{TOKEN}", "path": "/data/old"}
            patch = [move, {"op": "add", "path": f"/data/{TOKEN}", "value": operation.token}]

        async def call(server: int) -> None:
            body = json.dumps(patch).encode()
            written = await self._cluster.callers[server].patch(named(name), patch_type, body, meta.PatchOptions())
            operation.revision = written.entry.revision  # type: ignore[union-attr]

        await self._call(operation, call)

    async def _apply(self, name: str) -> None:
        """At the server's side, as a manager of its own; an object that is not there is made."""
        operation = self._begin("apply", name, self.token())
        operation.data = {TOKEN: operation.token}
        body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": operation.data}).encode()

        async def call(server: int) -> None:
            options = meta.PatchOptions(field_manager=self.name, force=True)
            written = await self._cluster.callers[server].patch(named(name), "apply", body, options)
            operation.revision = written.entry.revision  # type: ignore[union-attr]

        await self._call(operation, call)

    async def _delete(self, name: str, found: State, *, guarded: bool) -> None:
        operation = self._begin("delete", name)
        operation.uid = found.uid
        options = meta.DeleteOptions()
        options.preconditions.uid = found.uid
        if guarded:
            options.preconditions.resource_version = str(found.revision)

        async def call(server: int) -> None:
            await self._cluster.callers[server].delete(named(name), options)

        await self._call(operation, call)

    def _server(self) -> int:
        return self._source.randrange(len(self._cluster.callers))

    def _begin(self, kind: str, key: str = "", token: str = "") -> Operation:
        operation = Operation(self.name, self._server(), self._cluster.epoch, kind, key, token)
        self._cluster.history.operations.append(operation)
        return operation

    async def _call(self, operation: Operation, call: Callable[[int], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        operation.start = loop.time()
        try:
            await call(operation.server)
            operation.outcome = OK
        except Timeout as error:
            operation.outcome, operation.error = UNKNOWN, str(error)
        except StatusError as error:
            operation.outcome, operation.error = REFUSED, f"{error.reason}: {error}"
        finally:
            operation.end = loop.time()


class Watcher:
    """Lists and watches as an informer does: a broken watch goes on at either server, an expired one begins with a list."""

    def __init__(self, name: str, cluster: Cluster, source: random.Random) -> None:
        self._client = Client(name, cluster, source)
        self._name, self._cluster, self._source = name, cluster, source
        self.reached = 0

    async def run(self) -> None:
        while True:
            await self._cluster.open.wait()
            listed = await self._client.list()
            if listed.outcome != OK:
                await asyncio.sleep(0.05)
                continue
            self.reached = listed.revision
            epoch = listed.epoch
            while epoch == self._cluster.epoch and self._cluster.open.is_set():
                segment = Segment(self._name, self._source.randrange(len(self._cluster.callers)), epoch, self.reached, reached=self.reached)
                self._cluster.history.segments.append(segment)
                try:
                    await self._follow(segment)
                    segment.ended = "by itself"
                except Expired as error:
                    segment.ended = str(error)
                    break
                except StatusError as error:
                    segment.ended = str(error)
                    await asyncio.sleep(0.05)

    async def _follow(self, segment: Segment) -> None:
        seconds = self._source.choice((1, 2, 30))
        options = meta.ListOptions(resource_version=str(segment.begin), timeout_seconds=seconds, allow_watch_bookmarks=True)
        watch = self._cluster.callers[segment.server].watch(REF, options)
        async with contextlib.aclosing(watch) as batches:  # type: ignore[type-var]
            async for batch in batches:
                for event in batch:
                    if event.revision < segment.reached:
                        segment.went_back.append(event.revision)
                    segment.reached = self.reached = event.revision
                    if event.entry is not None:
                        segment.events.append(Seen(event.type, event.revision, event.entry.name, state(event.entry)))
