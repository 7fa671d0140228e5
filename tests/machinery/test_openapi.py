"""What clients look for in the OpenAPI documents."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from google.protobuf.descriptor import Descriptor

from knarr.machinery import openapi
from knarr.machinery.catalog import registry
from knarr.machinery.resources import Version

REGISTRY = registry()
DOCUMENTS = {path: openapi.document(REGISTRY, *pair) for path, pair in openapi.index(REGISTRY).items()}


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {value["$ref"]} if "$ref" in value else set().union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_reference_leads_somewhere(path: str) -> None:
    document = DOCUMENTS[path]
    known = {openapi.REFERENCE + name for name in document["components"]["schemas"]}
    assert references(document) <= known
    assert orjson.loads(orjson.dumps(document)) == document
    identifiers = [operation["operationId"] for entry in document["paths"].values() for operation in entry.values() if "tags" in operation]
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize("version", REGISTRY.versions, ids=lambda version: version.qualified)
def test_a_patch_of_each_kind_can_be_validated_and_tried(version: Version) -> None:
    root = f"apis/{version.api_version}" if version.group else f"api/{version.version}"
    document = DOCUMENTS[root]
    place = (
        f"/{root}/namespaces/{{namespace}}/{version.resource.plural}/{{name}}"
        if version.resource.namespaced
        else f"/{root}/{version.resource.plural}/{{name}}"
    )
    patch = document["paths"][place]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": version.group, "version": version.version, "kind": version.kind}
    assert {"fieldValidation", "dryRun", "fieldManager"} <= {parameter["name"] for parameter in patch["parameters"]}
    assert set(openapi.PATCH_TYPES) == set(patch["requestBody"]["content"])
    schema = document["components"]["schemas"][openapi.schema_name(cast(Descriptor, version.message.DESCRIPTOR))]
    assert schema["x-kubernetes-group-version-kind"] == [{"group": version.group, "version": version.version, "kind": version.kind}]


def test_schemas_carry_merge_keys_and_types() -> None:
    schemas = DOCUMENTS["api/v1"]["components"]["schemas"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["items"] == {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}]}
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    volumes = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"]
    assert volumes["x-kubernetes-patch-strategy"] == "merge,retainKeys"
    assert "configMap" in schemas["io.k8s.api.core.v1.Volume"]["properties"]
    assert schemas["io.k8s.api.core.v1.Container"]["required"] == ["name"]
    assert schemas["io.k8s.apimachinery.pkg.apis.meta.v1.Time"]["format"] == "date-time"
    data = schemas["io.k8s.api.core.v1.Secret"]["properties"]["data"]
    assert data["additionalProperties"] == {"type": "string", "format": "byte"}
