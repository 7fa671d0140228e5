"""Evictions over REST: what their bodies may be called, and what a refusal tells a client to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.apiserver.in_memory import ApiInMemory
from tests.support.faces import RestClient

PODS, BUDGETS = "/api/v1/namespaces/default/pods", "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
POD = {
    "metadata": {"name": "p", "labels": {"app": "web"}},
    "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "busybox"}]},
}
BUDGET = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}


@pytest.fixture
async def rest() -> AsyncIterator[RestClient]:
    async with ApiInMemory() as api:
        yield RestClient(api)


async def evict(rest: RestClient, api_version: str) -> Any:
    body = {"apiVersion": api_version, "kind": "Eviction", "metadata": {"name": "p", "namespace": "default"}}
    return await rest.call("POST", f"{PODS}/p/eviction", body)


async def begin(rest: RestClient) -> None:
    """A pod that runs, and a budget that its controller has not seen."""
    assert (await rest.call("POST", PODS, POD)).status == 201
    status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    assert (await rest.call("PATCH", f"{PODS}/p/status", status, content_type="application/merge-patch+json")).status == 200
    assert (await rest.call("POST", BUDGETS, BUDGET)).status == 201


@pytest.mark.parametrize("api_version", ["policy/v1", "policy/v1beta1"])
async def test_older_clients_call_it_v1beta1(rest: RestClient, api_version: str) -> None:
    await rest.call("POST", PODS, POD)
    answer = await evict(rest, api_version)
    assert (answer.status, answer.json["status"]) == (201, "Success")


async def test_no_other_version_will_do(rest: RestClient) -> None:
    await rest.call("POST", PODS, POD)
    answer = await evict(rest, "policy/v1alpha1")
    assert answer.status == 400 and "does not match the expected API version (policy/v1)" in answer.json["message"]


async def test_a_client_hears_when_it_may_ask_again(rest: RestClient) -> None:
    await begin(rest)
    answer = await evict(rest, "policy/v1")
    assert (answer.status, answer.json["reason"], answer.headers["retry-after"]) == (429, "TooManyRequests", ["10"])
    assert answer.json["details"]["causes"] == [
        {"reason": "DisruptionBudget", "message": "The disruption budget b is still being processed by the server."}
    ]


async def test_several_budgets_are_an_error_without_a_reason(rest: RestClient) -> None:
    await begin(rest)
    await rest.call("POST", BUDGETS, {**BUDGET, "metadata": {"name": "b2"}})
    answer = await evict(rest, "policy/v1")
    assert answer.status == answer.json["code"] == 500 and "reason" not in answer.json
