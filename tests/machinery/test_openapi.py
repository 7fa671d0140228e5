"""What clients look for in the OpenAPI documents."""

from __future__ import annotations

import struct
from typing import Any, cast

import orjson
import pytest
from google.protobuf.descriptor import Descriptor

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.machinery.catalog import registry
from knarr.machinery.openapi import gnostic, gnostic_v3, names, paths, upgrade, v2, v3
from knarr.machinery.openapi.schemas import REFERENCE
from knarr.machinery.resources import Registry, Resource, Subresource, Version

REGISTRY = registry()
DOCUMENTS = {name: orjson.loads(b"".join(v3.as_json(REGISTRY, name))) for name in v3.index(REGISTRY)}


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {value["$ref"]} if isinstance(value.get("$ref"), str) else set().union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_reference_leads_somewhere(path: str) -> None:
    document = DOCUMENTS[path]
    known = {REFERENCE + name for name in document["components"]["schemas"]}
    assert references(document) <= known
    identifiers = [operation["operationId"] for entry in document["paths"].values() for operation in entry.values() if "tags" in operation]
    assert len(identifiers) == len(set(identifiers))


PATCHED = [version for version in REGISTRY.versions if version.resource.stored]


@pytest.mark.parametrize("version", PATCHED, ids=lambda version: version.qualified)
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
    assert set(paths.PATCHES) == set(patch["requestBody"]["content"])
    schema = document["components"]["schemas"][names.message_name(cast(Descriptor, version.message.DESCRIPTOR))]
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


@pytest.mark.parametrize("name", v3.others(REGISTRY))
def test_what_is_about_no_version_has_a_document_too(name: str) -> None:
    document = orjson.loads(b"".join(v3.as_json(REGISTRY, name)))
    assert list(document["paths"]) == [f"/{name}/"]
    assert references(document) <= {REFERENCE + schema for schema in document["components"]["schemas"]}


def test_values_that_are_all_there_are_and_maps_of_one_owner() -> None:
    schemas = DOCUMENTS["api/v1"]["components"]["schemas"]
    port = schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]
    assert (port["enum"], port["default"]) == (["TCP", "UDP", "SCTP"], "TCP")
    assert schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["nodeSelector"]["x-kubernetes-map-type"] == "atomic"
    assert schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"] == "atomic"
    assert schemas["io.k8s.apimachinery.pkg.apis.meta.v1.APIResource"]["properties"]["verbs"]["items"] == {"type": "string"}


def test_operations_are_called_as_kubernetes_calls_them() -> None:
    found = {
        operation["operationId"]: operation["x-kubernetes-action"]
        for document in DOCUMENTS.values()
        for path in document["paths"].values()
        for operation in path.values()
        if "x-kubernetes-action" in operation
    }
    expected = {
        "listCoreV1NamespacedPod": "list", "listCoreV1PodForAllNamespaces": "list", "createCoreV1NamespacedPod": "post",
        "deleteCoreV1CollectionNamespacedPod": "deletecollection", "readCoreV1NamespacedPod": "get",
        "replaceAppsV1NamespacedDeployment": "put",
        "patchAppsV1NamespacedDeploymentScale": "patch", "deleteCoreV1Namespace": "delete", "replaceCoreV1NamespaceFinalize": "put",
        "createCoreV1NamespacedPodEviction": "post", "connectCoreV1GetNamespacedPodExec": "connect", "readCoreV1NamespacedPodLog": "get",
        "watchCoreV1NamespacedPod": "watch", "watchCoreV1NamespacedPodList": "watchlist", "watchCoreV1PodListForAllNamespaces": "watchlist",
        "listNetworkingV1NamespacedNetworkPolicy": "list",
    }  # fmt: skip
    assert expected.items() <= found.items()


def custom() -> Resource:
    """A resource whose objects have no message."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["port", "maybe"],
                "properties": {
                    "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                    "maybe": {"type": "string", "nullable": True},
                    "size": {"type": "string", "enum": ["S", "L"], "default": "S"},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "inner": {"type": "object", "x-kubernetes-embedded-resource": True},
                },
            }
        },
    }
    version = Version("stable.example.com", "v1", "CronTab", cast(Any, object), cast(Any, object), openapi=lambda: schema)
    return Resource("crontabs", (version,), subresources=(Subresource("status"), Subresource("scale", body=autoscaling.Scale)))


@pytest.fixture
def with_custom() -> Registry:
    found = registry()
    found.add(custom())
    return found


def test_a_version_without_a_message_says_what_its_objects_are(with_custom: Registry) -> None:
    document = orjson.loads(b"".join(v3.as_json(with_custom, "apis/stable.example.com/v1")))
    schema = document["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert schema["x-kubernetes-group-version-kind"] == [{"group": "stable.example.com", "version": "v1", "kind": "CronTab"}]
    assert list(schema["properties"]) == ["spec", "apiVersion", "kind", "metadata"]
    assert "metadata" in schema["properties"]["spec"]["properties"]["inner"]["properties"]
    item = document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]
    assert item["patch"]["operationId"] == "patchStableExampleComV1NamespacedCronTab"
    assert paths.STRATEGIC not in item["patch"]["requestBody"]["content"]
    scale = document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}/scale"]["patch"]
    assert paths.STRATEGIC in scale["requestBody"]["content"]
    listed = document["components"]["schemas"]["com.example.stable.v1.CronTabList"]
    assert listed["properties"]["items"]["items"] == {"allOf": [{"$ref": f"{REFERENCE}com.example.stable.v1.CronTab"}]}
    assert references(document) <= {REFERENCE + name for name in document["components"]["schemas"]}


def test_v2_says_of_it_what_it_can(with_custom: Registry) -> None:
    document = orjson.loads(b"".join(v2.as_json(with_custom)))
    spec = document["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"]
    assert spec["required"] == ["port"]
    assert spec["properties"]["port"] == {"x-kubernetes-int-or-string": True, "type": "string", "format": "int-or-string"}
    assert spec["properties"]["maybe"] == {}
    assert spec["properties"]["free"] == {"x-kubernetes-preserve-unknown-fields": True}
    assert spec["properties"]["size"] == {"type": "string", "enum": ["S", "L"], "default": "S"}
    metadata = document["definitions"]["com.example.stable.v1.CronTab"]["properties"]["metadata"]
    assert metadata["$ref"] == "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def test_what_every_object_has_is_explained_in_the_words_that_are_looked_for(with_custom: Registry) -> None:
    """Kubernetes' conformance suite reads them in what ``kubectl explain`` says of a custom resource."""
    definitions = orjson.loads(b"".join(v2.as_json(with_custom)))["definitions"]
    shown = definitions["com.example.stable.v1.CronTab"]["properties"]
    created = definitions["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]["creationTimestamp"]
    assert "APIVersion defines" in shown["apiVersion"]["description"]
    assert "Standard object's metadata" in shown["metadata"]["description"]
    assert "CreationTimestamp is a timestamp" in created["description"]


def test_v2_names_no_field_of_a_kind_that_keeps_what_is_not_known() -> None:
    anything = {"type": "object", "properties": {"spec": {"type": "string"}}, "x-kubernetes-preserve-unknown-fields": True}
    found = registry()
    found.add(Resource("any", (Version("example.com", "v1", "Any", cast(Any, object), cast(Any, object), openapi=lambda: anything),)))
    document = orjson.loads(b"".join(v2.as_json(found)))
    kinds = [{"group": "example.com", "version": "v1", "kind": "Any"}]
    assert document["definitions"]["com.example.v1.Any"] == {"type": "object", "x-kubernetes-group-version-kind": kinds}


def test_v2_has_all_of_v3_in_one_document() -> None:
    document = orjson.loads(b"".join(v2.as_json(REGISTRY)))
    known = {v2.V2_REFERENCE + name for name in document["definitions"]}
    assert references(document) <= known
    for v3_document in DOCUMENTS.values():
        assert v3_document["paths"].keys() <= document["paths"].keys()
        assert v3_document["components"]["schemas"].keys() <= document["definitions"].keys()
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert {"fieldValidation", "dryRun", "force"} <= {parameter["name"] for parameter in patch["parameters"]}
    definitions = document["definitions"]
    assert definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"]["x-kubernetes-patch-strategy"] == "merge,retainKeys"
    assert definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"] == "string"
    assert definitions["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"].keys() == {"type", "description"}
    identifiers = [one["operationId"] for path in document["paths"].values() for one in path.values() if "operationId" in one]
    assert len(identifiers) == len(set(identifiers))


def test_each_piece_is_small() -> None:
    """The loop comes to its turn between two of them."""
    for pieces in (v2.as_json(REGISTRY), v2.as_protobuf(REGISTRY), v3.as_json(REGISTRY, "api/v1"), v3.as_protobuf(REGISTRY, "api/v1")):
        assert max(map(len, pieces)) < 64 * 1024


def test_the_protobuf_form_holds_the_same() -> None:
    read = wire(b"".join(v2.as_protobuf(REGISTRY)))
    document = orjson.loads(b"".join(v2.as_json(REGISTRY)))
    found = {wire(entry)[1][0].decode(): wire(entry)[2][0] for part in read[8] for entry in wire(part)[2]}
    assert found.keys() == document["paths"].keys()
    definitions = {wire(entry)[1][0].decode(): wire(entry)[2][0] for part in read[9] for entry in wire(part)[1]}
    assert definitions.keys() == document["definitions"].keys()
    item = wire(found["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"])
    patch = wire(item[8][0])
    assert patch[5] == [b"patchAppsV1NamespacedDeployment"]
    assert paths.STRATEGIC.encode() in patch[7]
    extensions = {wire(entry)[1][0]: wire(wire(entry)[2][0])[2][0] for entry in patch[13]}
    assert orjson.loads(extensions[b"x-kubernetes-group-version-kind"]) == {"group": "apps", "version": "v1", "kind": "Deployment"}
    spec = wire(definitions["io.k8s.api.core.v1.PodSpec"])
    properties = {wire(entry)[1][0]: wire(wire(entry)[2][0]) for entry in wire(spec[25][0])[1]}
    assert wire(wire(properties[b"containers"][23][0])[1][0])[1] == [b"#/definitions/io.k8s.api.core.v1.Container"]
    assert wire(properties[b"containers"][22][0])[1] == [b"array"]
    assert {wire(entry)[1][0]: wire(wire(entry)[2][0])[2][0] for entry in properties[b"containers"][31]} == {
        b"x-kubernetes-patch-strategy": b'"merge"\n', b"x-kubernetes-patch-merge-key": b'"name"\n',
        b"x-kubernetes-list-type": b'"map"\n', b"x-kubernetes-list-map-keys": b'["name"]\n',
    }  # fmt: skip


def test_numbers_and_truths_have_wires_of_their_own() -> None:
    written = {"minimum": 1, "maxLength": 5, "exclusiveMinimum": True, "uniqueItems": False, "enum": [1, "a"]}
    found = gnostic.document({"definitions": {"A": {**written, "additionalProperties": True, "default": []}}})
    schema = wire(wire(wire(wire(found)[9][0])[1][0])[2][0])
    assert schema == {
        5: [b"\x12\x03[]\n"], 9: [struct.pack("<d", 1)], 10: [1], 11: [5], 20: [b"\x12\x021\n", b'\x12\x04"a"\n'], 21: [b"\x10\x01"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["api/v1", "apis/apps/v1", "apis", "version"])
def test_the_protobuf_form_of_v3_holds_the_same(name: str) -> None:
    read = wire(b"".join(v3.as_protobuf(REGISTRY, name)))
    document = orjson.loads(b"".join(v3.as_json(REGISTRY, name)))
    assert read[1] == [b"3.0.0"]
    found = {wire(entry)[1][0].decode(): wire(entry)[2][0] for part in read[4] for entry in wire(part)[1]}
    assert found.keys() == document["paths"].keys()
    components = [wire(part) for part in read[5]]
    schemas = {wire(entry)[1][0].decode(): wire(entry)[2][0] for part in components for one in part.get(1, []) for entry in wire(one)[1]}
    assert schemas.keys() == document["components"]["schemas"].keys()
    assert [wire(wire(one)[1][0])[1] for part in components for one in part.get(7, [])] == [[b"BearerToken"]]


def test_what_an_operation_is_in_the_protobuf_form_of_v3() -> None:
    read = wire(b"".join(v3.as_protobuf(REGISTRY, "apis/apps/v1")))
    found = {wire(entry)[1][0].decode(): wire(entry)[2][0] for part in read[4] for entry in wire(part)[1]}
    item = wire(found["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"])
    parameter = wire(wire(item[13][0])[1][0])
    assert (parameter[2], parameter[4], wire(wire(parameter[10][0])[1][0])[25]) == ([b"path"], [1], [b"string"])
    patch = wire(item[10][0])
    assert patch[5] == [b"patchAppsV1NamespacedDeployment"]
    media = [wire(entry)[1][0].decode() for entry in wire(wire(wire(patch[7][0])[1][0])[2][0])[1]]
    assert paths.STRATEGIC in media
    codes = {wire(entry)[1][0]: wire(wire(wire(entry)[2][0])[1][0]) for entry in wire(patch[8][0])[2]}
    answer = wire(wire(codes[b"200"][3][0])[1][0])
    assert wire(wire(wire(answer[2][0])[1][0])[2][0]) == {1: [b"#/components/schemas/io.k8s.api.apps.v1.Deployment"]}
    extensions = {wire(entry)[1][0]: wire(wire(entry)[2][0])[2][0] for entry in patch[13]}
    assert orjson.loads(extensions[b"x-kubernetes-group-version-kind"]) == {"group": "apps", "version": "v1", "kind": "Deployment"}


def test_what_a_schema_is_in_the_protobuf_form_of_v3() -> None:
    reference = {"$ref": "#/components/schemas/B"}
    written = {
        "minimum": 1, "maxLength": 5, "exclusiveMinimum": True, "uniqueItems": False, "enum": [1, "a"], "allOf": [reference],
        "items": reference, "additionalProperties": True, "default": 3, "properties": {"p": {"default": False}, "q": {"default": {}}},
    }  # fmt: skip
    found = gnostic_v3.document({"components": {"schemas": {"A": written}}})
    schema = wire(wire(wire(wire(wire(wire(found)[5][0])[1][0])[1][0])[2][0])[1][0])
    to_b = b"\x12\x18\n\x16#/components/schemas/B"
    properties = {wire(entry)[1][0]: wire(wire(entry)[2][0])[1][0] for entry in wire(schema.pop(31)[0])[1]}
    assert properties == {b"p": b"\x8a\x02\x02\x10\x00", b"q": b""}
    assert schema == {
        13: [struct.pack("<d", 1)], 14: [1], 15: [5], 24: [b"\x12\x021\n", b'\x12\x04"a"\n'], 26: [to_b],
        30: [b"\n\x1a" + to_b], 32: [b"\x10\x01"], 33: [b"\t" + struct.pack("<d", 3)],
    }  # fmt: skip


def test_a_document_of_v2_as_one_of_v3() -> None:
    operation = {
        "operationId": "replace", "consumes": ["*/*"], "produces": ["application/json", "application/yaml"], "schemes": ["https"],
        "parameters": [
            {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/A"}},
            {"name": "force", "in": "query", "type": "boolean", "uniqueItems": True, "description": "d"},
        ],
        "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/A"}}, "401": {"description": "Unauthorized"}},
    }  # fmt: skip
    name = {"name": "name", "in": "path", "required": True, "type": "string"}
    definitions = {"A": {"type": "object", "properties": {"b": {"items": {"$ref": "#/definitions/A"}}}}, "B": 5}
    paths_ = {"/x/{name}": {"put": operation, "parameters": [name], "x-mine": 1}, "/y": {"get": {"parameters": [{"$ref": "elsewhere"}]}}}
    found = upgrade.upgraded({"paths": paths_, "definitions": definitions}, v3.HEAD, v3.SECURITY)
    reference = {"$ref": "#/components/schemas/A"}
    content = {media: {"schema": reference} for media in ("application/json", "application/yaml")}
    assert found["paths"] == {
        "/x/{name}": {
            "put": {
                "operationId": "replace",
                "parameters": [{"name": "force", "in": "query", "description": "d", "schema": {"type": "boolean", "uniqueItems": True}}],
                "requestBody": {"content": {"application/json": {"schema": reference}}, "required": True},
                "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
            },
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
        }
    }
    assert found["components"]["schemas"] == {"A": {"type": "object", "properties": {"b": {"items": reference}}}}
    broken = {**found, "paths": {**found["paths"], "/z": {"get": {"tags": 5}}}}
    assert b"".join(upgrade.as_protobuf(broken)) == b"".join(upgrade.as_protobuf(found))


def wire(data: bytes) -> dict[int, list[Any]]:
    """The fields of a message by their numbers."""
    found: dict[int, list[Any]] = {}
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(data):
        number, form = divmod(varint(), 8)
        size = {0: 0, 1: 8}.get(form)
        value: Any = varint() if form == 0 else None
        if form != 0:
            size = varint() if form == 2 else size
            assert size is not None
            value, place = data[place : place + size], place + size
        found.setdefault(number, []).append(value)
    return found
