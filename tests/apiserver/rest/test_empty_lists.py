"""Lists that are said to be empty, where that is another thing than none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from services.apiserver.in_memory import ApiInMemory
from tests.support.faces import RestClient

AUTOSCALERS = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
APPLY = "application/apply-patch+yaml"
MERGE, STRATEGIC, JSON_PATCH = (f"application/{kind}+json" for kind in ("merge-patch", "strategic-merge-patch", "json-patch"))
WHERE = "spec.behavior.scaleDown.policies"


def autoscaler(**behavior: Any) -> dict[str, Any]:
    spec = {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "behavior": behavior}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": spec}


@pytest.fixture
async def rest() -> AsyncIterator[RestClient]:
    async with ApiInMemory() as api:
        yield RestClient(api)


def refused(answer: Any) -> bool:
    causes = answer.json["details"]["causes"] if answer.status == 422 else []
    return [(cause["field"], cause["message"]) for cause in causes] == [(WHERE, "Required value: must specify at least one Policy")]


async def test_policies_that_are_said_to_be_none_are_refused_and_absent_ones_filled_in(rest: RestClient) -> None:
    empty = autoscaler(scaleDown={"policies": []})
    assert refused(await rest.call("POST", AUTOSCALERS, empty))
    assert refused(await rest.call("POST", AUTOSCALERS, yaml.safe_dump(empty).encode(), content_type="application/yaml"))
    assert refused(await rest.call("PATCH", f"{AUTOSCALERS}/a?fieldManager=m", yaml.safe_dump(empty).encode(), content_type=APPLY))
    made = await rest.call("POST", AUTOSCALERS, autoscaler(scaleDown={}))
    filled_in = [{"type": "Percent", "value": 100, "periodSeconds": 15}]
    assert made.status == 201 and made.json["spec"]["behavior"]["scaleDown"]["policies"] == filled_in
    assert refused(await rest.call("PUT", f"{AUTOSCALERS}/a", empty))
    for content_type in (MERGE, STRATEGIC):
        change: dict[str, Any] = {"spec": {"behavior": {"scaleDown": {"policies": []}}}}
        assert refused(await rest.call("PATCH", f"{AUTOSCALERS}/a", change, content_type=content_type))
    operations = [{"op": "remove", "path": "/spec/behavior/scaleDown/policies/0"}]
    assert refused(await rest.call("PATCH", f"{AUTOSCALERS}/a", operations, content_type=JSON_PATCH))
    assert (await rest.call("GET", f"{AUTOSCALERS}/a")).json["spec"]["behavior"]["scaleDown"]["policies"] == filled_in
