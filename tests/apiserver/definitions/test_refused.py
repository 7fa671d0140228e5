"""Definitions that are refused, with Kubernetes' words and field paths."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apiserver.definitions.asgi import CRDS, definition, running

VERSION = "spec.versions[0]"
SCHEMA_PATH = f"{VERSION}.schema.openAPIV3Schema"


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


def spec(path: str) -> str:
    return f"{SCHEMA_PATH}.properties[spec].properties{path}"


@pytest.mark.parametrize(
    ("found", "causes"),
    [
        ({}, [f"{SCHEMA_PATH}.type: Required value: must not be empty at the root"]),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            [f"{SCHEMA_PATH}.additionalProperties: Forbidden: must not be used at the root"],
        ),
        (schema(a={}), [f"{spec('[a]')}.type: Required value: must not be empty for specified object fields"]),
        (schema(a={"type": "array"}), [f"{spec('[a]')}.items: Required value: must be specified"]),
        (
            schema(a={"type": "array", "items": {}}),
            [f"{spec('[a]')}.items.type: Required value: must not be empty for specified array items"],
        ),
        (
            schema(a={"type": "string", "anyOf": [{"type": "string"}]}),
            [f"{spec('[a]')}.anyOf[0].type: Forbidden: must be empty to be structural"],
        ),
        (
            {"type": "object", "allOf": [{"required": ["x"]}, {"properties": {"x": {"minLength": 1}}}]},
            [f"{SCHEMA_PATH}.properties[x]: Required value: because it is defined in {SCHEMA_PATH}.allOf[1].properties[x]"],
        ),
        (
            schema(a={"type": "string", "x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True}),
            [f"{spec('[a]')}.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string"],
        ),
        (schema(a={"type": "text"}), [f'{spec("[a]")}.type: Unsupported value: "text": supported values: "array", "boolean", "integer"']),
        (schema(a={"type": "string", "pattern": "("}), [f'{spec("[a]")}.pattern: Invalid value: "(": must be a valid regular expression']),
        (
            schema(a={"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
            [f"{spec('[a]')}.uniqueItems: Forbidden: uniqueItems cannot be set to true"],
        ),
        (
            schema(a={"type": "string", "default": 1}),
            [f'{spec("[a]")}.default: Invalid value: "integer": {spec("[a]")}.default in body must be of type string'],
        ),
        (
            schema(a={"type": "object", "properties": {"b": {"type": "string"}}, "default": {"c": 1}}),
            [f'{spec("[a]")}.default: Invalid value: {{"c":1}}: must not have unknown fields'],
        ),
        (
            {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}},
            [f"{SCHEMA_PATH}.properties[metadata]: Forbidden: must not specify anything other than name and generateName"],
        ),
        (
            schema(a={"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"}),
            [
                f"{spec('[a]')}.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
                f'{spec("[a]")}.items.type: Invalid value: "string": must be object if parent array\'s x-kubernetes-list-type is map',
            ],
        ),
        (
            schema(
                a={
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["n"],
                    "items": {"type": "object", "properties": {"n": {"type": "string"}}},
                }
            ),
            [
                f"{spec('[a]')}.items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys, so it must "
                "have a default or be a required property"
            ],
        ),
    ],
)
async def test_schemas(found: dict[str, Any], causes: list[str]) -> None:
    async with running() as rest:
        answer = await rest("POST", CRDS, definition() | {"spec": definition(schema={"x": 1})["spec"] | _only(found)})
        assert answer.status == 422, answer.json
        assert len(answer.causes) == len(causes), answer.causes
        assert all(told.startswith(wanted) for told, wanted in zip(answer.causes, causes, strict=True)), answer.causes


def _only(found: dict[str, Any]) -> dict[str, Any]:
    return {"versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": found}}]}


def changed(**spec: Any) -> dict[str, Any]:
    found = definition()
    found["spec"].update(spec)
    return found


@pytest.mark.parametrize(
    ("found", "causes"),
    [
        (
            changed(group="nodots") | {"metadata": {"name": "widgets.nodots"}},
            ['spec.group: Invalid value: "nodots": should be a domain with at least one dot'],
        ),
        (changed(scope="Everywhere"), ['spec.scope: Unsupported value: "Everywhere": supported values: "Cluster", "Namespaced"']),
        (changed(preserveUnknownFields=True), ["spec.preserveUnknownFields: Invalid value: true: cannot set to true"]),
        (
            definition("other") | {"metadata": {"name": "x.example.org"}},
            ['metadata.name: Invalid value: "x.example.org": must be spec.names.plural+"."+spec.group'],
        ),
        (definition(names={"listKind": "Widget"}), ['spec.names.listKind: Invalid value: "Widget": kind and listKind may not be the same']),
        (definition(names={"shortNames": ["A"]}), ['spec.names.shortNames[0]: Invalid value: "A": a DNS-1035 label']),
        (
            definition(versions=[]),
            [
                "spec.versions: Invalid value: null: must have exactly one version marked as storage version",
                "status.storedVersions: Invalid value",
            ],
        ),
        (
            definition(deprecationWarning="old"),
            [f'{VERSION}.deprecationWarning: Invalid value: "old": can only be set for deprecated versions'],
        ),
        (
            definition(additionalPrinterColumns=[{"name": "A", "type": "text", "jsonPath": "a"}]),
            [
                f'{VERSION}.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string',
                f'{VERSION}.additionalPrinterColumns[0].jsonPath: Invalid value: "a": must be a simple json path starting with .',
            ],
        ),
        (
            definition(subresources={"scale": {"specReplicasPath": ".status.a", "statusReplicasPath": ""}}),
            [
                f'{VERSION}.subresources.scale.specReplicasPath: Invalid value: ".status.a": should be a json path under .spec',
                f"{VERSION}.subresources.scale.statusReplicasPath: Required value",
            ],
        ),
        (
            definition(selectableFields=[{"jsonPath": ".spec.a"}]),
            [f'{VERSION}.selectableFields[0].jsonPath: Invalid value: ".spec.a": is an invalid path'],
        ),
        (
            definition("widgets", "things.k8s.io"),
            ["metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation"],
        ),
        (
            changed(conversion={"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}),
            ["spec.conversion.webhook: Forbidden: should not be set when strategy is not set to Webhook"],
        ),
    ],
)
async def test_the_rest(found: dict[str, Any], causes: list[str]) -> None:
    async with running() as rest:
        answer = await rest("POST", CRDS, found)
        assert answer.status == 422, answer.json
        assert len(answer.causes) == len(causes), answer.causes
        assert all(told.startswith(wanted) for told, wanted in zip(answer.causes, causes, strict=True)), answer.causes


async def test_what_may_not_change() -> None:
    async with running() as rest:
        await rest.define(definition())
        for patch, words in (
            ({"spec": {"scope": "Cluster"}}, "spec.scope: Invalid value"),
            ({"spec": {"names": {"kind": "Gadget", "listKind": "GadgetList"}}}, "spec.names.kind: Invalid value"),
        ):
            answer = await rest("PATCH", f"{CRDS}/widgets.example.org", patch, "application/merge-patch+json")
            assert answer.status == 422 and any(cause.startswith(words) for cause in answer.causes)
