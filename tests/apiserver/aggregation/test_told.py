"""What clients are told of the group versions that others serve: discovery and OpenAPI, in every form."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import web

from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.machinery.openapi import wire
from services.apiserver.aggregation import documents, keeper
from services.apiserver.aggregation.resources import MAX_RESOURCES, Lie, aggregated
from services.apiserver.rest.openapi import V2_PROTOBUF, V3_PROTOBUF
from tests.apiserver.aggregation.conftest import NAME, Cluster, api_service
from tests.apiserver.definitions.asgi import definition
from tests.support.extension import FLUNDER, GROUP, OPENAPI_V2, RESOURCES, ROOT, VERSION, ExtensionServer

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "RETRY", Backoff(first_seconds=0.02, limit_seconds=0.05))


async def told(cluster: Cluster) -> dict[str, Any]:
    """The group as aggregated discovery has it; nothing where it has none."""
    items = (await cluster.rest.get("/apis", accept=AGGREGATED)).json["items"]
    return next((item for item in items if item["metadata"]["name"] == GROUP), {})


async def test_discovery_in_both_forms(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.served(extension)
    (version,) = (await told(cluster))["versions"]
    assert (version["version"], version["freshness"]) == (VERSION, "Current")
    fischers, flunders = version["resources"]
    kind = {"group": GROUP, "version": VERSION, "kind": "Flunder"}
    assert {key: flunders[key] for key in ("resource", "responseKind", "scope", "shortNames", "singularResource")} == {
        "resource": "flunders", "responseKind": kind, "scope": "Namespaced", "shortNames": ["fl"], "singularResource": "flunder",
    }  # fmt: skip
    assert flunders["subresources"] == [{"subresource": "status", "responseKind": kind, "verbs": ["get", "update"]}]
    assert (fischers["resource"], fischers["scope"]) == ("fischers", "Cluster")
    groups = {group["name"]: group for group in (await cluster.rest.get("/apis")).json["groups"]}
    assert groups[GROUP]["preferredVersion"] == {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    assert (await cluster.rest.get(f"/apis/{GROUP}")).json["name"] == GROUP
    # Its own server says what it serves.
    assert (await cluster.rest.get(ROOT)).json == RESOURCES
    assert extension.requests(ROOT)[-1]["x-remote-user"] == ["alice"]


async def test_the_higher_priority_comes_first(cluster: Cluster, extension: ExtensionServer) -> None:
    cluster.node.ports = {8443: extension.port}
    await cluster.place()
    service = await _registered(cluster, extension, 20_000)
    names = [group["name"] for group in (await cluster.rest.get("/apis")).json["groups"]]
    assert names[:2] == [GROUP, "apps"]
    service.spec.group_priority_minimum = 1
    await cluster.client.update(service)

    async def last() -> bool:
        return bool((await cluster.rest.get("/apis")).json["groups"][-1]["name"] == GROUP)

    await cluster.until(last)


async def _registered(cluster: Cluster, extension: ExtensionServer, priority: int) -> Any:
    service = api_service(extension.ca_bundle)
    service.spec.group_priority_minimum = priority
    await cluster.client.create(service)
    await cluster.condition("True", "Passed")
    return await cluster.client.get(apiregistration.APIService, NAME)


async def test_what_is_away_is_stale(cluster: Cluster, extension: ExtensionServer) -> None:
    """What it served stays told, as in Kubernetes."""
    await cluster.served(extension)
    cluster.node.ports = {}
    stored = await cluster.client.get(core.Service, "api", "wardle")
    stored.spec.ports[0].name = "other"
    await cluster.client.update(stored)
    await cluster.condition("False", "MissingEndpoints")

    async def stale() -> Any:
        version = (await told(cluster))["versions"][0]
        return version if version["freshness"] == "Stale" else None

    assert [entry["resource"] for entry in (await cluster.until(stale))["resources"]] == ["fischers", "flunders"]


async def test_a_definition_of_the_same_group_version(cluster: Cluster, extension: ExtensionServer) -> None:
    """As in Kubernetes the APIService has it; what is stored is there again once that is gone."""
    defined = definition("flunders", GROUP, "Flunder", versions=None)
    defined["spec"]["versions"][0]["name"] = VERSION
    answer = await cluster.rest.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", orjson.dumps(defined))
    assert answer.status == 201

    async def listed() -> bool:
        return (await cluster.rest.get(f"{ROOT}/flunders")).status == 200

    await cluster.until(listed)
    await cluster.served(extension)
    assert (await cluster.rest.get(f"{ROOT}/flunders")).headers["x-served-by"] == "wardle"
    assert len((await told(cluster))["versions"][0]["resources"]) == 2
    await cluster.client.delete(apiregistration.APIService, NAME)

    async def own() -> bool:
        return "x-served-by" not in (await cluster.rest.get(f"{ROOT}/flunders")).headers

    await cluster.until(own)
    (resource,) = (await told(cluster))["versions"][0]["resources"]
    assert resource["resource"] == "flunders"


async def test_openapi_of_both_versions(cluster: Cluster, extension: ExtensionServer) -> None:
    await cluster.served(extension)

    async def known() -> bool:
        return FLUNDER in (await cluster.rest.get("/openapi/v2")).json["definitions"]

    await cluster.until(known)
    document = (await cluster.rest.get("/openapi/v2")).json
    assert document["definitions"]["com.example.Spec"] == OPENAPI_V2["definitions"]["com.example.Spec"]
    assert "com.example.Unused" not in document["definitions"]
    assert f"{ROOT}/namespaces/{{namespace}}/flunders" in document["paths"]
    assert document["paths"]["/apis/apps/v1/deployments"].get("get", {}).get("operationId") != "theirs"
    message = (await cluster.rest.get("/openapi/v2", accept=V2_PROTOBUF)).body
    assert wire.block(1, FLUNDER.encode()) in message
    index = (await cluster.rest.get("/openapi/v3")).json["paths"]
    url = index[ROOT.strip("/")]["serverRelativeURL"]
    assert url == f"/openapi/v3{ROOT}?hash=ABC"
    assert FLUNDER in (await cluster.rest.get(url)).json["components"]["schemas"]


async def test_one_that_speaks_no_v3_is_told_in_v3_all_the_same(cluster: Cluster, extension: ExtensionServer) -> None:
    async def missing(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=404)

    extension.play["/openapi/v3"] = missing
    await cluster.served(extension)

    async def listed() -> Any:
        return (await cluster.rest.get("/openapi/v3")).json["paths"].get(ROOT.strip("/"))

    url = (await cluster.until(listed))["serverRelativeURL"]
    answer = await cluster.rest.get(url)
    document = answer.json
    assert document["openapi"] == "3.0.0"
    assert document["components"]["schemas"][FLUNDER]["properties"]["spec"] == {"$ref": "#/components/schemas/com.example.Spec"}
    told = document["paths"][f"{ROOT}/namespaces/{{namespace}}/flunders"]["get"]["responses"]["200"]
    assert told["content"] == {"application/json": {"schema": {"$ref": f"#/components/schemas/{FLUNDER}"}}}
    message = await cluster.rest.get(url, accept=V3_PROTOBUF)
    assert wire.block(1, FLUNDER.encode()) in message.body
    assert message.headers["etag"] == answer.headers["etag"]
    # It goes with its server.
    await cluster.client.delete(apiregistration.APIService, NAME)

    async def gone() -> bool:
        return ROOT.strip("/") not in (await cluster.rest.get("/openapi/v3")).json["paths"]

    await cluster.until(gone)
    assert (await cluster.rest.get(url)).status == 404


async def test_a_document_that_is_none(cluster: Cluster, extension: ExtensionServer) -> None:
    """Ours is told whole, whatever theirs is like."""
    broken = {**OPENAPI_V2, "paths": {**OPENAPI_V2["paths"], f"{ROOT}/x": {"get": 5}}}

    async def lie(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=orjson.dumps(broken))

    extension.play["/openapi/v2"] = lie
    await cluster.served(extension)

    async def known() -> bool:
        return FLUNDER in (await cluster.rest.get("/openapi/v2")).json["definitions"]

    await cluster.until(known)
    answer = await cluster.rest.get("/openapi/v2", accept=V2_PROTOBUF)
    assert answer.status == 200
    assert wire.block(1, b"/apis/apps/v1/deployments") in answer.body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"paths":[],"definitions":{}}',
        orjson.dumps({"paths": {ROOT: {"$ref": "#/definitions/a"}}, "definitions": {"a": [[[]]]}})[:-1],
        b'{"definitions":{},"paths":{"%b/x":' % ROOT.encode() + b'{"a":' * 100 + b"{}" + b"}" * 100 + b"}}",
    ],
)
def test_what_of_a_document_is_not_taken(body: bytes) -> None:
    assert documents.own_part(body, ROOT) is None


def test_parameters_that_a_document_says_once_for_all() -> None:
    shared = {"pretty": {"name": "pretty", "in": "query", "type": "string"}}
    used = {"parameters": [{"$ref": "#/parameters/pretty"}, {"$ref": "#/parameters/none"}, {"name": "x", "in": "path"}]}
    body = orjson.dumps({"paths": {f"{ROOT}/x": {"get": used, **used}}, "definitions": {}, "parameters": shared})
    plain = {"parameters": [shared["pretty"], {"name": "x", "in": "path"}]}
    assert documents.own_part(body, ROOT) == {"paths": {f"{ROOT}/x": {"get": plain, **plain}}, "definitions": {}}


def test_definitions_that_refer_to_one_another() -> None:
    reference = {"$ref": "#/definitions/a"}
    body = orjson.dumps({"paths": {f"{ROOT}/x": {"get": reference}}, "definitions": {"a": {"items": reference}}})
    assert documents.own_part(body, ROOT) == {"paths": {f"{ROOT}/x": {"get": reference}}, "definitions": {"a": {"items": reference}}}


def test_resources_that_make_no_sense_are_left_out() -> None:
    entries: list[Any] = [
        5, {}, {"name": 5}, {"name": "../secrets"}, {"name": "a" * 300},
        {"name": "x", "verbs": "get", "kind": ["X"], "shortNames": [1, "y"]},
        {"name": "y/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]},
    ]  # fmt: skip
    body = orjson.dumps({"kind": "APIResourceList", "resources": entries})
    kind = {"group": "g", "version": "v", "kind": ""}
    x = {"resource": "x", "responseKind": kind, "scope": "Cluster", "singularResource": "", "verbs": [], "shortNames": ["y"]}
    scale = {"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get"]}
    y = {"resource": "y", "scope": "Cluster", "singularResource": "", "verbs": [], "subresources": [scale]}
    assert aggregated(body, "g", "v") == [x, y]


def test_more_resources_than_anybody_serves() -> None:
    body = orjson.dumps({"resources": [{"name": f"r{number}"} for number in range(MAX_RESOURCES * 2)]})
    assert len(aggregated(body, "g", "v")) == MAX_RESOURCES
    with pytest.raises(Lie):
        aggregated(b"{", "g", "v")


async def test_what_is_told_changes_with_what_is_served(
    cluster: Cluster, extension: ExtensionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.05)
    await cluster.served(extension)

    async def less(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=orjson.dumps({**RESOURCES, "resources": RESOURCES["resources"][2:]}))

    extension.play[ROOT] = less
    await asyncio.sleep(0)

    async def one() -> bool:
        return len((await told(cluster))["versions"][0]["resources"]) == 1

    await cluster.until(one)
