"""Custom resources over gRPC, and for components that are elsewhere: the typed client, garbage collection, namespaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.runtime.v1 import runtime_pb2 as runtime
from knarr.client.client import Client
from knarr.machinery.errors import BadRequest, Conflict, Invalid, NotFound
from knarr.machinery.resources import Version
from services.apiserver.servicer import unpack_json
from tests.apiserver.definitions.asgi import WIDGETS, Rest, definition, running, widget
from tests.support.faces import rpc_client

SCHEMA = {
    "type": "object",
    "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 1, "maximum": 5}}}},
}


async def version_of(client: Client) -> Version:
    (found,) = [resource.storage for resource in await client.resources() if resource.plural == "widgets"]
    return found


def new(version: Version, name: str, **content: Any) -> Any:
    made: Any = version.message(metadata=meta.ObjectMeta(name=name, namespace="default"))
    made.content.update(content)
    return made


async def exercise(client: Client, rest: Rest) -> None:
    """The same through each client."""
    version = await version_of(client)
    kind: Any = version.message
    made: Any = await client.create(new(version, "a", spec={"size": 3}, junk=1))
    assert made.content == {"spec": {"size": 3}} and made.metadata.uid
    assert (await rest("GET", f"{WIDGETS}/a")).json["metadata"]["uid"] == made.metadata.uid
    found: Any = await client.get(kind, "a", "default")
    assert found == made
    found.content["spec"]["size"] = 4
    changed: Any = await client.update(found)
    assert changed.content["spec"] == {"size": 4}
    with pytest.raises(Conflict):
        await client.update(made)
    with pytest.raises(Invalid, match="should be less than or equal to 5"):
        await client.create(new(version, "b", spec={"size": 9}))
    patched: Any = await client.patch(kind, "a", "default", patch={"spec": {"size": 5}})
    assert patched.content["spec"] == {"size": 5}
    listed = await client.list(kind, "default")
    assert [item.content for item in listed.items] == [{"spec": {"size": 5}}]
    events = client.watch(kind, "default", resource_version=listed.resource_version)
    await client.delete(kind, "a", "default", uid=patched.metadata.uid)
    (event,) = await anext(events)
    assert (event.type, event.object.content) == ("DELETED", {"spec": {"size": 5}})
    await events.aclose()  # type: ignore[attr-defined]
    with pytest.raises(NotFound):
        await client.get(kind, "a", "default")


async def test_the_typed_client_over_grpc(tmp_path: Path) -> None:
    async with running() as rest, rpc_client(rest.api, tmp_path) as client:
        await rest.define(definition(schema=SCHEMA))
        await exercise(client, rest)
        first = await version_of(client)
        assert await version_of(client) is first


async def test_the_typed_client_without_a_network() -> None:
    async with running() as rest:
        await rest.define(definition(schema=SCHEMA))
        await exercise(rest.api.client(), rest)


async def test_bodies_that_are_none() -> None:
    async with running() as rest:
        await rest.define(definition(schema=SCHEMA))
        version = rest.api.server.registry.preferred("example.org", "widgets")
        assert version is not None
        name = "type.googleapis.com/knarr.api.runtime.v1.Unknown"
        for body in (
            AnyMessage(type_url="type.googleapis.com/knarr.api.core.v1.Pod"),
            AnyMessage(type_url=name, value=b"\x0a\xff"),
            AnyMessage(type_url=name, value=runtime.Unknown(raw=b"[]").SerializeToString()),
            AnyMessage(type_url=name, value=runtime.Unknown(raw=b"{}", content_type="text/plain").SerializeToString()),
        ):
            with pytest.raises(BadRequest):
                unpack_json(version, body)


async def test_a_namespace_and_what_owns_them_take_custom_objects_with_them() -> None:
    """What the controllers do, by the same calls."""
    async with running() as rest:
        await rest.define(definition(schema=SCHEMA))
        client = rest.api.client()
        owner = await client.create(core.ConfigMap(metadata=meta.ObjectMeta(name="owner", namespace="default")))
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}
        body = widget(spec={}) | {"metadata": {"name": "a", "ownerReferences": [reference]}}
        assert (await rest("POST", WIDGETS, body)).status == 201
        for resource in await client.resources():
            if resource.namespaced and {"list", "delete"} <= set(resource.verbs) and resource.plural == "widgets":
                (found,) = (await client.list(resource.storage.message, "default")).items
                assert found.metadata.owner_references[0].uid == owner.metadata.uid  # type: ignore[attr-defined]
                await client.delete(type(found), "a", "default", propagation_policy="Background")
        assert (await rest("GET", WIDGETS)).json["items"] == []
