"""Requests that are seldom made, answered as kube-apiserver answers them: each was asked of one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from services.apiserver.in_memory import ApiInMemory
from tests.support.faces import RestClient

MAPS, ONE = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/configmaps/one"
POD = "/api/v1/namespaces/default/pods/waiting"
JSON, MERGE, PATCH = "application/json", "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
GONE = (
    'Operation cannot be fulfilled on configmaps "none": StorageError: invalid object, Code: 4, Key: /registry/configmaps/default/none, '
    "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: x, UID in object meta: "
)


@pytest.fixture
async def rest() -> AsyncIterator[RestClient]:
    async with ApiInMemory() as api:
        api.seed(core.ConfigMap(metadata=meta.ObjectMeta(name="one", namespace="default"), data={"a": "b"}))
        containers = [core.Container(name="c", image="i")]
        api.seed(core.Pod(metadata=meta.ObjectMeta(name="waiting", namespace="default"), spec=core.PodSpec(containers=containers)))
        await api.settle()
        yield RestClient(api)


@pytest.mark.parametrize(
    ("method", "path", "content_type", "body", "status", "words"),
    [
        pytest.param("PATCH", ONE, MERGE, {"kind": "Secret"}, 422, "patch: Invalid value", id="a patch makes no other kind"),
        pytest.param("PATCH", ONE, MERGE, {"apiVersion": "v2"}, 422, "patch: Invalid value", id="nor another version"),
        pytest.param("PATCH", ONE, PATCH, [{"op": "replace", "path": "/kind", "value": "Secret"}], 422, "(v1.Secret)", id="JSON"),
        pytest.param("PATCH", ONE, PATCH, [{"op": "add", "path": "data", "value": {}}], 422, 'path "data"', id="a path without a slash"),
        pytest.param("PATCH", ONE, PATCH, [{"op": "replace", "path": "", "value": [1]}], 422, "cannot unmarshal array", id="a list"),
        pytest.param("PATCH", ONE, PATCH, [{"op": "replace", "path": "", "value": None}], 422, "cannot unmarshal null", id="or nothing"),
        pytest.param(
            "PATCH", f"{POD}?fieldManager=me", APPLY,
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waiting"}, "spec": {"containers": [{"name": 2**70}]}}, 400,
            "].name: expected string", id="a key of more than 64 bits",
        ),
        pytest.param("PATCH", POD, STRATEGIC, {"spec": {"containers": [{"image": "y"}]}}, 422, "map: map[image:y]", id="no key"),
        pytest.param(
            "PUT", ONE, JSON, {"metadata": {"name": "one", "deletionTimestamp": "2020-01-01T00:00:00Z"}}, 422,
            "metadata.deletionTimestamp: Invalid value", id="no update begins a deletion",
        ),
        pytest.param("PUT", f"{MAPS}/none", JSON, {"metadata": {"name": "none", "uid": "x"}}, 409, GONE, id="what is meant is gone"),
        pytest.param("PUT", f"{MAPS}/none", JSON, {"metadata": {"name": "none"}}, 404, '"none" not found', id="what is not there"),
        pytest.param("POST", MAPS, JSON, None, 422, "metadata.name: Required value", id="null is an empty object"),
        pytest.param("POST", MAPS, ";;;", {"metadata": {"name": "two"}}, 415, "unknown format", id="a content type that is none"),
        pytest.param(
            "PATCH", "/api/v1/namespaces/default/status", MERGE, {"status": {"phase": "Foo"}}, 422,
            "status.Phase: Invalid value: \"Foo\": may only be 'Active' if `deletionTimestamp` is empty", id="a phase that is none",
        ),
        pytest.param("POST", "/version", JSON, {}, 405, "does not allow this method", id="the version is read"),
        pytest.param(
            "GET", f"{POD}/log?sinceSeconds=5&sinceTime=2020-01-01T00:00:00Z", JSON, None, 422, "[]: Forbidden", id="no field",
        ),
    ],
)  # fmt: skip
async def test_it_is_refused(rest: RestClient, method: str, path: str, content_type: str, body: Any, status: int, words: str) -> None:
    given = None if method == "GET" else json.dumps(body).encode()
    answer = await rest.call(method, path, given, content_type=content_type)
    assert (answer.status, answer.json["code"]) == (status, status), answer.json
    assert words in answer.json["message"]


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        pytest.param(MERGE, {"kind": None, "data": {"a": "c"}}, {"a": "c"}, id="of no kind"),
        pytest.param(MERGE, {"kind": "ConfigMap", "apiVersion": "v1", "data": {"a": "c"}}, {"a": "c"}, id="of its own"),
        pytest.param(PATCH, [{"op": "add", "path": "/data/b"}], {"a": "b", "b": ""}, id="a value that is left out is null"),
    ],
)
async def test_a_patch_is_taken(rest: RestClient, content_type: str, body: Any, expected: dict[str, str]) -> None:
    answer = await rest.call("PATCH", ONE, orjson.dumps(body), content_type=content_type)
    assert (answer.status, answer.json.get("data")) == (200, expected), answer.json


async def test_a_pod_without_a_node_has_no_log_yet(rest: RestClient) -> None:
    answer = await rest.get(f"{POD}/log")
    assert (answer.status, answer.body) == (204, b"")
