"""Versions that Kubernetes serves no more, for who asks for them: clients and components of before, over the objects of today."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from knarr.machinery.catalog import RETIRED
from services.apiserver.flags import runtime_config, storage_versions
from tests.apiserver.rest.live import SETTINGS, running_server
from tests.peer.peers import Ask, Peer

OLD, NEW = "/apis/policy/v1beta1/namespaces/default/poddisruptionbudgets", "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
BUDGET: dict[str, Any] = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {}}}
APPLY = "application/apply-patch+yaml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    settings = dataclasses.replace(SETTINGS, revived_versions=frozenset(RETIRED), storage_versions=frozenset({"policy/v1beta1"}))
    with (
        running_server(tmp_path_factory.mktemp("retired"), in_memory=True, settings=settings) as live,
        contextlib.closing(Peer(live)) as found,
    ):
        yield found


def test_they_are_discovered_behind_the_others(server: Peer) -> None:
    group = server.ask(Ask("GET", "/apis/policy")).body
    assert [found["groupVersion"] for found in group["versions"]] == ["policy/v1", "policy/v1beta1"]
    assert group["preferredVersion"]["version"] == "v1"
    for api_version in RETIRED:
        assert server.ask(Ask("GET", f"/apis/{api_version}")).status == 200
        assert server.ask(Ask("GET", f"/openapi/v3/apis/{api_version}")).status == 200
    assert "io.k8s.api.policy.v1beta1.PodDisruptionBudget" in server.ask(Ask("GET", "/openapi/v2")).body["definitions"]


def test_an_object_is_written_read_and_watched_in_either(server: Peer) -> None:
    made = server.ask(Ask("POST", OLD, body=BUDGET)).body
    assert (made["apiVersion"], made["spec"]["selector"]) == ("policy/v1beta1", {})
    (requirement,) = server.ask(Ask("GET", f"{NEW}/b")).body["spec"]["selector"]["matchExpressions"]
    assert requirement["operator"] == "Exists"
    changed = server.ask(Ask("PUT", f"{OLD}/b", body={**made, "spec": {**BUDGET["spec"], "minAvailable": 2}})).body
    assert (changed["apiVersion"], changed["metadata"]["generation"]) == ("policy/v1beta1", 2)
    listed = server.ask(Ask("GET", OLD)).body
    assert (listed["apiVersion"], listed["kind"]) == ("policy/v1beta1", "PodDisruptionBudgetList")
    query = {"watch": "true", "resourceVersion": "0", "timeoutSeconds": "1"}
    event = server.ask(Ask("GET", OLD, query)).body
    assert (event["type"], event["object"]["apiVersion"]) == ("ADDED", "policy/v1beta1")
    assert server.ask(Ask("DELETE", f"{NEW}/b")).status == 200
    assert server.ask(Ask("GET", f"{OLD}/b")).status == 404


def test_one_manager_applies_in_both(server: Peer) -> None:
    query = {"fieldManager": "m"}
    for path, api_version, spec in ((OLD, "policy/v1beta1", {"minAvailable": 1}), (NEW, "policy/v1", {"maxUnavailable": 1})):
        body = {"apiVersion": api_version, "kind": "PodDisruptionBudget", "metadata": {"name": "applied"}, "spec": spec}
        assert server.ask(Ask("PATCH", f"{path}/applied", query, body, APPLY)).status in (200, 201)
    found = server.ask(Ask("GET", f"{OLD}/applied")).body
    assert found["spec"] == {"maxUnavailable": 1}
    assert [(entry["manager"], entry["apiVersion"]) for entry in found["metadata"]["managedFields"]] == [("m", "policy/v1")]


def test_without_being_asked_for_none_is_served(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        running_server(tmp_path_factory.mktemp("plain"), in_memory=True) as live,
        contextlib.closing(Peer(live)) as plain,
    ):
        for api_version in RETIRED:
            assert plain.ask(Ask("GET", f"/apis/{api_version}")).status == 404


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", frozenset()),
        ("policy/v1beta1=true", {"policy/v1beta1"}),
        ("policy/v1beta1,batch/v1beta1=false", {"policy/v1beta1"}),
    ],
)
def test_the_option_is_spelled_as_kubernetes_spells_it(text: str, found: frozenset[str]) -> None:
    assert runtime_config(text) == found


@pytest.mark.parametrize("text", ["api/all=true", "policy/v1=true", "policy/v1beta1=yes"])
def test_what_cannot_be_turned_on_is_told(text: str) -> None:
    with pytest.raises(Exception, match=r"is no version that can be turned on; those are |is neither true nor false"):
        runtime_config(text)


def test_what_nothing_can_be_stored_in_is_told() -> None:
    assert storage_versions("policy/v1beta1,autoscaling/v1") == {"policy/v1beta1", "autoscaling/v1"}
    with pytest.raises(Exception, match="nothing can be stored in v2; there are"):
        storage_versions("v2")
