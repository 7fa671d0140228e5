"""A whole API server in memory, asked through its REST face without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from knarr.machinery.resources import Resource
from knarr.service.authentication import TokenTable, User, hash_token
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rest.application import Application, create_app

TOKEN = "a-token-for-tests"
TOKENS = TokenTable({hash_token(TOKEN): User("alice", "1", ("system:masters", "system:authenticated"))})
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    warnings: list[str] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def causes(self) -> list[str]:
        return [f"{cause['field']}: {cause['message']}" for cause in self.json.get("details", {}).get("causes", [])]


class Rest:
    """Requests to one server; ``watch`` yields the events of a stream."""

    def __init__(self, api: ApiInMemory, application: Application) -> None:
        self.api, self.application = api, application

    async def __call__(self, method: str, path: str, body: Any = None, content_type: str = "application/json", accept: str = "") -> Answer:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await self.application(_scope(method, path, content_type, accept), _receive(body), send)
        start = sent[0]
        headers = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
        warnings = [value for name, value in headers if name.lower() == "warning"]
        return Answer(start["status"], dict(headers), b"".join(message.get("body", b"") for message in sent[1:]), warnings)

    @asynccontextmanager
    async def watch(self, path: str, accept: str = "") -> AsyncIterator[asyncio.Queue[Any]]:
        events: asyncio.Queue[Any] = asyncio.Queue()

        async def send(message: Any) -> None:
            for line in message.get("body", b"").splitlines():
                events.put_nowait(orjson.loads(line))
            if message["type"] == "http.response.body" and not message.get("more_body"):
                events.put_nowait(None)

        task = asyncio.create_task(self.application(_scope("GET", path, "", accept), _hold(), send))
        try:
            yield events
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def define(self, definition: dict[str, Any]) -> Answer:
        """Creates a definition and waits until it is established."""
        answer = await self("POST", CRDS, definition)
        assert answer.status == 201, answer.json
        await self.until_condition(definition["metadata"]["name"], "Established")
        return answer

    async def until_condition(self, name: str, condition: str, status: str = "True") -> dict[str, Any]:
        while True:
            found = await self("GET", f"{CRDS}/{name}")
            for entry in found.json.get("status", {}).get("conditions") or []:
                if (entry["type"], entry["status"]) == (condition, status):
                    return dict(entry)
            await asyncio.sleep(0.01)

    async def until_served(self, holds: Callable[[Resource], bool], plural: str = "widgets", group: str = "example.org") -> None:
        """Waits until what is served for a definition is so."""
        registry = self.api.server.registry
        while not ((version := registry.preferred(group, plural)) is not None and holds(version.resource)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await self.api.settle()

    async def until_gone(self, name: str) -> None:
        while (await self("GET", f"{CRDS}/{name}")).status != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _scope(method: str, path: str, content_type: str, accept: str) -> dict[str, Any]:
    path, _, query = path.partition("?")
    headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
    headers += [(b"content-type", content_type.encode())] if content_type else []
    headers += [(b"accept", accept.encode())] if accept else []
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "state": {},
        "extensions": {},
        "client": ("127.0.0.1", 1),
    }


def _receive(body: Any) -> Any:
    # Numbers of more than 64 bits orjson reads, and does not write.
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    messages = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()

    return receive


def _hold() -> Any:
    return _receive(b"")


@asynccontextmanager
async def running(api: ApiInMemory | None = None) -> AsyncIterator[Rest]:
    async with api or ApiInMemory() as started:
        yield Rest(started, create_app(started.server.api, TOKENS, started.server.registry))


def definition(
    plural: str = "widgets",
    group: str = "example.org",
    kind: str = "Widget",
    schema: dict[str, Any] | None = None,
    scope: str = "Namespaced",
    names: dict[str, Any] | None = None,
    versions: list[dict[str, Any]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A definition with one version; ``more`` is that version's."""
    schema = schema or {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    single = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **more}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "kind": kind, **(names or {})},
            "versions": [single] if versions is None else versions,
        },
    }


def widget(name: str = "a", api_version: str = "example.org/v1", **content: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": "Widget", "metadata": {"name": name}, **content}


WIDGETS = "/apis/example.org/v1/namespaces/default/widgets"
