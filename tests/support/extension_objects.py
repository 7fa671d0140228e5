"""Objects that an extension API server keeps: listed, watched, replaced and deleted, with finalizers, as API servers do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
from aiohttp import web

from tests.support.extension import GROUP, ROOT, VERSION

Json = dict[str, Any]
Played = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
GOING = "2026-01-01T00:00:00Z"
POLICIES = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


class Shelf:
    """The objects of one resource, in the namespace `default` or in none. ``play`` is what an ExtensionServer plays; it follows what is
    added and removed."""

    def __init__(self, plural: str, kind: str, play: dict[str, Any]) -> None:
        self._plural, self._kind, self._play = plural, kind, play
        self._objects: dict[str, Json] = {}
        self._history: list[tuple[str, Json]] = []
        self._changed = asyncio.Event()
        # Whether its lists and watches are answered.
        self.away = False
        for within in ("", "/namespaces/default"):
            play[f"{ROOT}{within}/{plural}"] = self._collection

    def __contains__(self, name: str) -> bool:
        return any(found["metadata"]["name"] == name for found in self._objects.values())

    def add(self, name: str, namespace: str = "", owners: list[Json] | None = None) -> Json:
        """Stores an object; its uid is ``uid-NAME``."""
        metadata = {"name": name, "uid": f"uid-{name}", **({"namespace": namespace} if namespace else {})}
        if owners:
            metadata["ownerReferences"] = owners  # type: ignore[assignment]
        made = {"apiVersion": f"{GROUP}/{VERSION}", "kind": self._kind, "metadata": metadata}
        self._keep("ADDED", made)
        return made

    def named(self, name: str) -> Json:
        return next(found for found in self._objects.values() if found["metadata"]["name"] == name)

    def remove(self, name: str) -> None:
        self._remove(self.named(name))

    def _path(self, obj: Json) -> str:
        metadata = obj["metadata"]
        within = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        return f"{ROOT}{within}/{self._plural}/{metadata['name']}"

    def _keep(self, sort: str, obj: Json) -> None:
        self._history.append((sort, obj))
        obj["metadata"]["resourceVersion"] = str(len(self._history))
        path = self._path(obj)
        if sort == "DELETED":
            self._objects.pop(path, None)
        else:
            self._objects[path] = obj
            self._play[path] = self._one
        self._changed.set()
        self._changed = asyncio.Event()

    def _remove(self, obj: Json) -> None:
        self._keep("DELETED", {**obj, "metadata": dict(obj["metadata"])})

    async def _collection(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.away:
            return refused(503, "ServiceUnavailable")
        if "watch" in request.query:
            return await self._watch(request, int(request.query.get("resourceVersion") or "0"))
        items = list(self._objects.values())
        body = {"kind": f"{self._kind}List", "metadata": {"resourceVersion": str(len(self._history))}, "items": items}
        return web.Response(body=orjson.dumps(body))

    async def _watch(self, request: web.BaseRequest, position: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while not self.away:
            changed = self._changed
            for line in self._lines(position):
                await response.write(line)
            position = len(self._history)
            await changed.wait()
        return response

    def _lines(self, position: int) -> Iterator[bytes]:
        for sort, obj in self._history[position:]:
            yield orjson.dumps({"type": sort, "object": obj}) + b"\n"

    def leave(self) -> None:
        """It answers no more, and ends its watches."""
        self.away = True
        self._changed.set()

    async def _one(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.away:
            return refused(503, "ServiceUnavailable")
        found = self._objects.get(request.path)
        if found is None:
            return refused(404, "NotFound")
        if request.method == "PUT":
            return self._replace(found, orjson.loads(await request.read()))
        if request.method == "DELETE":
            return self._delete(found, orjson.loads(await request.read()))
        return web.Response(body=orjson.dumps(found))

    def _replace(self, found: Json, sent: Json) -> web.StreamResponse:
        if sent["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            return refused(409, "Conflict")
        self._keep("MODIFIED", sent)
        if "deletionTimestamp" in sent["metadata"] and not sent["metadata"].get("finalizers"):
            self._remove(sent)
        return web.Response(body=orjson.dumps(sent))

    def _delete(self, found: Json, options: Json) -> web.StreamResponse:
        conditions = options.get("preconditions", {})
        if any(found["metadata"][field] != value for field, value in conditions.items()):
            return refused(409, "Conflict")
        finalizer = POLICIES.get(options.get("propagationPolicy", ""))
        if finalizer is None:
            self._remove(found)
        else:
            self._keep("MODIFIED", {**found, "metadata": {**found["metadata"], "deletionTimestamp": GOING, "finalizers": [finalizer]}})
        return web.Response(body=orjson.dumps(found))


def refused(code: int, reason: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code}
    return web.Response(status=code, body=orjson.dumps(status))
