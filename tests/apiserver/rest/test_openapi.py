"""OpenAPI v3: an index whose URLs carry the hashes of the documents behind them."""

from __future__ import annotations

import gzip

import orjson
import pytest

from knarr.machinery.catalog import registry
from knarr.machinery.openapi import v2, v3
from knarr.machinery.version import GIT_VERSION
from services.apiserver.rest import openapi
from tests.apiserver.rest.http_client import HttpClient


async def test_every_group_version_has_a_document(client: HttpClient) -> None:
    paths = (await client.get("/openapi/v3")).json["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/coordination.k8s.io/v1", "apis/discovery.k8s.io/v1"} <= paths.keys()
    for entry in paths.values():
        answer = await client.get(entry["serverRelativeURL"])
        assert (answer.status, answer.json["openapi"]) == (200, "3.0.0")
        assert answer.headers["etag"].strip('"') in entry["serverRelativeURL"]


async def test_an_unchanged_document_is_not_sent_again(client: HttpClient) -> None:
    etag = (await client.get("/openapi/v3/apis/apps/v1")).headers["etag"]
    answer = await client.get("/openapi/v3/apis/apps/v1", if_none_match=etag)
    assert (answer.status, answer.body) == (304, b"")
    assert (await client.get("/openapi/v3/apis/apps/v1", if_none_match='"OTHER"')).status == 200


async def test_kubectl_finds_that_patches_validate_fields(client: HttpClient) -> None:
    """What kubectl looks for before it leaves validation to the server."""
    paths = (await client.get("/openapi/v3/apis/apps/v1")).json["paths"]
    patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert {"fieldValidation", "dryRun"} <= {parameter["name"] for parameter in patch["parameters"]}


@pytest.mark.parametrize("accept", ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", openapi.V2_PROTOBUF])
async def test_v2_as_protobuf_by_both_its_names(client: HttpClient, accept: str) -> None:
    answer = await client.get("/openapi/v2?timeout=32s", accept=accept)
    assert (answer.status, answer.headers["content-type"]) == (200, openapi.V2_PROTOBUF)
    assert answer.body == b"".join(v2.as_protobuf(registry()))


@pytest.mark.parametrize("accept", ["application/com.github.proto-openapi.spec.v3@v1.0+protobuf", openapi.V3_PROTOBUF])
async def test_v3_as_protobuf_by_both_its_names(client: HttpClient, accept: str) -> None:
    """Both forms go by the hash that the index names."""
    url = (await client.get("/openapi/v3")).json["paths"]["apis/apps/v1"]["serverRelativeURL"]
    answer = await client.get(url, accept=accept)
    assert (answer.status, answer.headers["content-type"]) == (200, openapi.V3_PROTOBUF)
    assert answer.body == b"".join(v3.as_protobuf(registry(), "apis/apps/v1"))
    assert answer.headers["etag"] == (await client.get(url)).headers["etag"]
    assert (await client.get(url, accept=accept, if_none_match=answer.headers["etag"])).status == 304
    assert (await client.get("/openapi/v3", accept=accept)).status == 406


async def test_v3_as_protobuf_changes_with_what_is_served() -> None:
    found = registry()
    documents = openapi.OpenApi(found)
    before = await documents.document("apis/apps/v1 protobuf")
    assert (await documents.document("apis/apps/v1 protobuf")) is before
    resource = next(served.resource for served in found.versions if served.kind == "ControllerRevision")
    found.remove(resource)
    after = await documents.document("apis/apps/v1 protobuf")
    assert after.hash == (await documents.document("apis/apps/v1")).hash != before.hash


async def test_v2_as_json_compressed_and_not_sent_again(client: HttpClient) -> None:
    whole = await client.get("/openapi/v2")
    assert (whole.json["swagger"], whole.json["info"]["version"], whole.headers["content-type"]) == ("2.0", GIT_VERSION, "application/json")
    small = await client.get("/openapi/v2", accept_encoding="gzip")
    assert (small.headers["content-encoding"], small.headers["vary"]) == ("gzip", "Accept-Encoding, Accept")
    assert gzip.decompress(small.body) == whole.body and len(small.body) * 5 < len(whole.body)
    assert small.headers["etag"] == whole.headers["etag"]
    assert (await client.get("/openapi/v2", if_none_match=whole.headers["etag"])).status == 304


@pytest.mark.parametrize(("path", "accept"), [("/openapi/v2", "text/html"), ("/openapi/v3", "application/xml"), ("/openapi/v3/api", "a/b")])
async def test_other_forms_are_not_acceptable(client: HttpClient, path: str, accept: str) -> None:
    assert (await client.get(path, accept=accept)).status == 406


async def test_a_named_document_is_kept_for_ever_and_a_former_one_leads_to_the_present(client: HttpClient) -> None:
    url = (await client.get("/openapi/v3")).json["paths"]["apis/apps/v1"]["serverRelativeURL"]
    assert "immutable" in (await client.get(url)).headers["cache-control"]
    former = await client.get("/openapi/v3/apis/apps/v1?hash=FORMER")
    assert (former.status, former.headers["location"]) == (301, url)
    assert (await client.get("/openapi/v3/apis/nope/v1")).status == 404


async def test_what_is_added_while_it_runs_is_described_and_nothing_else_made_anew() -> None:
    served = registry()
    leases = next(one for one in served if one.plural == "leases")
    served.remove(leases)
    documents = openapi.OpenApi(served)
    before = await documents.document(openapi.INDEX)
    apps = await documents.document("apis/apps/v1")
    assert "apis/coordination.k8s.io/v1" not in documents._names()
    served.add(leases)
    assert await documents.document("apis/apps/v1") is apps
    index = await documents.document(openapi.INDEX)
    assert index.hash != before.hash
    assert "apis/coordination.k8s.io/v1" in orjson.loads(gzip.decompress(index.compressed))["paths"]
    assert b"/leases" in gzip.decompress((await documents.document(openapi.V2_JSON)).compressed)
