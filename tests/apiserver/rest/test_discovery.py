"""Discovery, OpenAPI, version, probes and metrics."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
import yaml

from knarr.machinery import codec
from knarr.machinery.catalog import registry
from knarr.machinery.custom.form import CustomForm
from knarr.machinery.custom.objects import custom_class
from knarr.machinery.envelope import unwrap
from knarr.machinery.resources import Resource, Version
from knarr.machinery.version import GIT_VERSION
from services.apiserver.rest.application import Application
from services.apiserver.rest.discovery import LIST_KIND, MESSAGES, Discovery, aggregated_form
from tests.apiserver.rest.http_client import HttpClient

AGGREGATED = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", ""),
        ("application/json", ""),
        (AGGREGATED, "v2"),
        ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", "v2beta1"),
        ("application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json", ""),
        ("application/json," + AGGREGATED, ""),
    ],
)
def test_which_form_is_asked_for(accept: str, expected: str) -> None:
    form = aggregated_form(accept)
    assert (form.aggregated if form is not None else "") == expected


async def test_aggregated(client: HttpClient) -> None:
    for path, names in (("/api", [""]), ("/apis", ["apps", "networking.k8s.io", "coordination.k8s.io", "discovery.k8s.io"])):
        answer = await client.get(path, accept=AGGREGATED)
        assert answer.headers["content-type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        assert (answer.json["kind"], answer.json["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
        groups = [item["metadata"]["name"] for item in answer.json["items"]]
        assert [name for name in groups if name in names] == names
        assert all(version["freshness"] == "Current" for item in answer.json["items"] for version in item["versions"])
    beta = await client.get("/apis", accept="application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList")
    assert beta.json["apiVersion"] == "apidiscovery.k8s.io/v2beta1"
    assert beta.headers["content-type"].split(";")[2] == "v=v2beta1"


async def test_aggregated_resources(client: HttpClient) -> None:
    items = (await client.get("/apis", accept=AGGREGATED)).json["items"]
    apps = next(item for item in items if item["metadata"]["name"] == "apps")
    deployments = next(entry for entry in apps["versions"][0]["resources"] if entry["resource"] == "deployments")
    kind = {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert {key: deployments[key] for key in ("responseKind", "scope", "singularResource", "shortNames", "categories")} == {
        "responseKind": kind, "scope": "Namespaced", "singularResource": "deployment", "shortNames": ["deploy"], "categories": ["all"],
    }  # fmt: skip
    assert deployments["verbs"] == ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    assert [entry["subresource"] for entry in deployments["subresources"]] == ["scale", "status"]
    assert deployments["subresources"][0]["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert deployments["subresources"][1]["responseKind"] == kind


async def test_legacy(client: HttpClient) -> None:
    assert (await client.get("/api")).json["versions"] == ["v1"]
    groups = {group["name"]: group for group in (await client.get("/apis")).json["groups"]}
    assert groups["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    assert (await client.get("/apis/apps")).json["kind"] == "APIGroup"
    resources = {entry["name"]: entry for entry in (await client.get("/api/v1")).json["resources"]}
    assert {key: resources["pods/eviction"][key] for key in ("group", "version", "kind")} == {
        "group": "policy", "version": "v1", "kind": "Eviction",
    }  # fmt: skip
    assert (resources["nodes"]["namespaced"], resources["nodes"]["singularName"], resources["pods"]["shortNames"]) == (
        False,
        "node",
        ["po"],
    )
    assert (await client.get("/apis/apps/v1")).json["groupVersion"] == "apps/v1"
    assert (await client.get("/apis/apps/v9")).status == 404
    assert (await client.get("/apis/nope.io")).status == 404


def test_every_kind_is_announced_once() -> None:
    discovery = Discovery(registry())
    for version in registry().versions:
        path = f"/apis/{version.group}/{version.version}" if version.group else f"/api/{version.version}"
        answer = discovery.answer(path, b"")
        assert answer is not None
        assert answer.body.count(b'"name":"%s"' % version.resource.plural.encode()) == 1


async def test_the_root_names_what_is_answered_with_or_without_a_last_slash(client: HttpClient) -> None:
    paths = (await client.get("/")).json["paths"]
    assert {"/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/openapi/v3", "/openapi/v3/apis/apps/v1", "/version"} <= set(paths)
    for path in paths:
        answer = await client.get(path)
        slashed = await client.get(path + "/")
        assert (answer.status, slashed.status) == (200, 200), path
        if path != "/metrics":
            assert answer.body == slashed.body, path


async def test_version(client: HttpClient) -> None:
    found = (await client.get("/version")).json
    assert found["gitVersion"] == GIT_VERSION and re.fullmatch(r"v1\.37\.\d+\+knarr\.[\d.]+", GIT_VERSION)
    assert (found["major"], found["minor"]) == ("1", "37")
    assert re.fullmatch(r"[0-9a-f]{40}", found["gitCommit"])


async def test_probes(client: HttpClient, application: Application) -> None:
    well = {"etcd": True}
    application.checks["etcd"] = lambda: well["etcd"]
    assert (await client.get("/readyz")).body == b"ok"
    assert (await client.get("/readyz?verbose")).body == b"[+]ping ok\n[+]etcd ok\nreadyz check passed\n"
    well["etcd"] = False
    answer = await client.get("/readyz")
    assert (answer.status, answer.body) == (500, b"[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n")
    assert (await client.get("/readyz?exclude=etcd")).status == 200
    assert (await client.get("/readyz/etcd")).status == 500
    assert (await client.get("/livez")).status == 200
    assert (await client.get("/healthz/nope")).status == 404


async def test_metrics(client: HttpClient) -> None:
    await client.get("/api/v1/pods")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert b'knarr_apiserver_rest_requests_total{code="200",resource="pods",verb="list"}' in answer.body


async def test_aggregated_discovery_is_not_sent_again(client: HttpClient) -> None:
    first = await client.get("/apis", accept=AGGREGATED)
    assert (first.headers["vary"], first.headers["cache-control"]) == ("Accept", "no-cache, private, must-revalidate")
    again = await client.get("/apis", accept=AGGREGATED, if_none_match=first.headers["etag"])
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (await client.get("/api", accept=AGGREGATED)).headers["etag"] != first.headers["etag"]


async def test_as_yaml_and_protobuf(client: HttpClient) -> None:
    for path in ("/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"):
        found = (await client.get(path)).json
        as_yaml = await client.get(path, accept="application/yaml")
        assert (as_yaml.headers["content-type"], yaml.safe_load(as_yaml.body)) == ("application/yaml", found)
        as_protobuf = await client.get(path, accept="application/vnd.kubernetes.protobuf,application/json")
        held = unwrap(as_protobuf.body)
        assert (as_protobuf.headers["content-type"], held.type_meta.kind) == ("application/vnd.kubernetes.protobuf", found["kind"])
        message = MESSAGES[found["kind"]].FromString(held.raw)
        assert codec.to_json(message) == codec.to_json(codec.from_json(MESSAGES[found["kind"]], found).message)
    accept = "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    aggregated = await client.get("/apis", accept=accept)
    assert aggregated.headers["content-type"] == accept
    groups: Any = MESSAGES[LIST_KIND].FromString(unwrap(aggregated.body).raw)
    assert "apps" in [item.metadata.name for item in groups.items]
    assert (await client.get("/apis/apps", accept="text/html")).status == 406


async def test_what_is_stored_in_which_version(client: HttpClient) -> None:
    """The hashes are Kubernetes' own."""
    resources = {entry["name"]: entry for entry in (await client.get("/api/v1")).json["resources"]}
    assert resources["pods"]["storageVersionHash"] == "xPOwRZ+Yhw8="
    assert "storageVersionHash" not in resources["pods/status"]
    events = (await client.get("/apis/events.k8s.io/v1")).json["resources"][0]
    assert events["storageVersionHash"] == resources["events"]["storageVersionHash"] == "r2yiGXH7wu8="


def test_a_group_of_ones_own_comes_after_the_built_in_ones() -> None:
    found = registry()
    message = custom_class("a.example.com/v1", "Deployment")
    version = Version("a.example.com", "v1", "Deployment", message, message, form=CustomForm(message, None))
    found.add(Resource("deployments", (version,), key="a.example.com/deployments"))
    answer = Discovery(found).answer("/apis", b"")
    assert answer is not None
    # As in Kubernetes metrics come last of all: their resources are called as those that they measure.
    assert [group["name"] for group in orjson.loads(answer.body)["groups"][-2:]] == ["a.example.com", "metrics.k8s.io"]


async def test_probes_say_what_was_left_out(client: HttpClient, application: Application) -> None:
    application.checks["etcd"] = lambda: False
    answer = await client.get("/readyz?verbose&exclude=etcd&exclude=nope")
    assert answer.body == (
        b'[+]ping ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for "nope"\nreadyz check passed\n'
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert {"/readyz/etcd", "/readyz/ping", "/livez/ping"} <= set((await client.get("/")).json["paths"])
