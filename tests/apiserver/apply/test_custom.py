"""Managers and server-side apply of custom resources, by their structural schemas."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.machinery.custom.schema import Schema
from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.check import problems
from knarr.machinery.fieldsets.members import mentioned
from knarr.machinery.fieldsets.structural import shape_of_objects
from tests.apiserver.definitions.asgi import CRDS, WIDGETS, Answer, Rest, definition, running

APPLY = "application/apply-patch+yaml"
PORT = {
    "type": "object",
    "required": ["number"],
    "properties": {"number": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}, "name": {"type": "string"}},
}
SPEC: dict[str, Any] = {
    "type": "object",
    "properties": {
        "size": {"type": "integer"},
        "port": {"x-kubernetes-int-or-string": True},
        "ports": {"type": "array", "items": PORT, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number", "protocol"]},
        "names": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "args": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "selector": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
SCHEMA = {"type": "object", "properties": {"spec": SPEC, "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}


def widget(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec}


async def apply(rest: Rest, body: Any, manager: str = "m", more: str = "", part: str = "") -> Answer:
    return await rest("PATCH", f"{WIDGETS}/a{part}?fieldManager={manager}{more}", body, APPLY)


def owners(answer: Answer) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in answer.json["metadata"]["managedFields"]}


def test_a_shape_follows_from_the_schema() -> None:
    shape = shape_of_objects(Schema(SCHEMA, root=True))
    value = widget(
        size=1, port="http", ports=[{"number": 80, "name": "x"}], names=["a"], args=["b"], labels={"c": "d"}, selector={"e": "f"},
        free={"g": {"h": 1}, "i": [1]},
    )  # fmt: skip
    assert problems(shape, value) == []
    fields = mentioned(shape, value)
    assert fields["f:metadata"] == {"f:name": {}}
    assert fields["f:spec"] == {
        "f:size": {}, "f:port": {}, "f:args": {}, "f:selector": {}, "f:labels": {"f:c": {}}, "f:names": {'v:"a"': {}},
        "f:ports": {'k:{"number":80,"protocol":"TCP"}': {".": {}, "f:number": {}, "f:name": {}}},
        "f:free": {"f:g": {".": {}, "f:h": {}}, "f:i": {}},
    }  # fmt: skip
    assert problems(shape, widget(nope=1)) == [".spec.nope: field not declared in schema"]
    assert problems(shape_of_objects(None), widget(nope=1)) == []


async def test_custom_objects_are_applied() -> None:
    async with running() as rest:
        await rest.define(definition(schema=SCHEMA))
        made = await apply(rest, widget(size=1, ports=[{"number": 80}], free={"a": 1}), "one")
        assert made.status == 201, made.json
        assert made.json["spec"]["ports"] == [{"number": 80, "protocol": "TCP"}]
        more = await apply(rest, widget(ports=[{"number": 443}], free={"b": 2}), "other")
        assert (more.status, [port["number"] for port in more.json["spec"]["ports"]]) == (200, [80, 443])
        assert more.json["spec"]["free"] == {"a": 1, "b": 2}
        refused = await apply(rest, widget(size=2), "other")
        assert (refused.status, refused.causes) == (409, ['.spec.size: conflict with "one"'])
        left = await apply(rest, widget(size=1), "one")
        assert left.json["spec"] == {"size": 1, "ports": [{"number": 443, "protocol": "TCP"}], "free": {"b": 2}}
        assert sorted(owners(left)) == ["one", "other"]
        assert (await apply(rest, widget(size=1), "one")).json == left.json, "nothing to write"
        strange = await apply(rest, widget(nope=1))
        assert (strange.status, strange.json["message"]) == (
            400, "failed to create typed patch object (/a; example.org/v1, Kind=Widget): .spec.nope: field not declared in schema",
        )  # fmt: skip


async def test_writers_of_custom_objects_own_what_they_change() -> None:
    async with running() as rest:
        await rest.define(definition(schema=SCHEMA, subresources={"status": {}}))
        made = await rest("POST", f"{WIDGETS}?fieldManager=maker", widget(size=1, labels={"a": "b"}))
        assert owners(made) == {"maker": {"f:spec": {".": {}, "f:size": {}, "f:labels": {".": {}, "f:a": {}}}}}
        status = {**made.json, "spec": {"size": 9}, "status": {"phase": "Up"}}
        found = await rest("PUT", f"{WIDGETS}/a/status?fieldManager=controller", status)
        assert owners(found)["controller"] == {"f:status": {".": {}, "f:phase": {}}}
        assert owners(found)["maker"] == owners(made)["maker"]
        changed = await rest("PATCH", f"{WIDGETS}/a?fieldManager=other", {"spec": {"size": 2}}, "application/merge-patch+json")
        assert owners(changed)["other"] == {"f:spec": {"f:size": {}}}
        assert not sets.has(owners(changed)["maker"], ("f:spec", "f:size"))


@pytest.mark.parametrize("part", ["", "/status"])
async def test_what_is_not_there_is_created_as_a_whole_only(part: str) -> None:
    async with running() as rest:
        await rest.define(definition(schema=SCHEMA, subresources={"status": {}}))
        answer = await apply(rest, {**widget(size=1), "status": {"phase": "Up"}}, part=part)
        assert answer.status == (404 if part else 201)
        assert "status" not in answer.json or answer.json["status"] == "Failure"


async def test_a_definition_is_applied() -> None:
    async with running() as rest:
        body = definition(schema=SCHEMA)
        name = body["metadata"]["name"]
        path = f"{CRDS}/{name}?fieldManager=m"
        assert (
            await rest("PATCH", path, {**body, "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}, APPLY)
        ).status == 201
        await rest.until_condition(name, "Established")
        assert (await apply(rest, widget(size=1))).status == 201
