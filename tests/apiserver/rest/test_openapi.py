"""OpenAPI v3: an index whose URLs carry the hashes of the documents behind them."""

from __future__ import annotations

from knarr.machinery.version import GIT_VERSION
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


async def test_v2_defines_nothing(client: HttpClient) -> None:
    accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    answer = await client.get("/openapi/v2?timeout=32s", accept=accept)
    assert (answer.status, answer.headers["content-type"]) == (200, accept.replace("@", "."))
    version = GIT_VERSION.encode()
    info = b"\x0a\x0aKubernetes" + b"\x12" + bytes([len(version)]) + version
    assert answer.body == b"\x0a\x032.0" + b"\x12" + bytes([len(info)]) + info + b"\x42\x00"
    plain = (await client.get("/openapi/v2")).json
    assert (plain["swagger"], plain["info"]["version"], plain["paths"]) == ("2.0", version.decode(), {})
    assert (await client.get("/openapi/v3/apis/nope/v1")).status == 404
