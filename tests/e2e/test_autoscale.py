"""Pods by what containers really use, through kubelet, metrics.k8s.io and the autoscaler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engine import IMAGE
from tests.support.knarr_cluster import KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

APP = "grows"


def deployment() -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "1000"], "resources": {"requests": {"memory": "1Mi"}}}
    template = {"metadata": {"labels": {"app": APP}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": APP}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": APP}, "spec": spec}


def autoscaler(each: str) -> dict[str, Any]:
    """So much memory a pod is wanted; a change is looked at as soon as it is made."""
    metric = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": each}}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
        "maxReplicas": 3,
        "metrics": [metric],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": APP}, "spec": spec}


@pytest.fixture
def grows(cluster: KnarrCluster) -> Iterator[KnarrCluster]:
    cluster.apply(deployment())
    try:
        yield cluster
    finally:
        cluster.kubectl("delete", "hpa,deployment", APP, "--ignore-not-found", "--timeout=30s")


def test_pods_come_and_go_by_what_they_use(grows: KnarrCluster) -> None:
    def ready() -> int:
        return len(grows.ready_pods(f"app={APP}"))

    def measured() -> list[str]:
        found = grows.kubectl("top", "pod", "-l", f"app={APP}", "--containers", "--no-headers", check=False).stdout.split()
        return found if "main" in found else []

    grows.wait_for("the pod", lambda: ready() == 1)
    pod, container, _, memory = grows.wait_for("its use", measured)
    assert pod.startswith(APP) and container == "main" and memory.endswith("Mi")
    # Less than any process has.
    grows.apply(autoscaler("10Ki"))
    grows.wait_for("more pods", lambda: ready() == 3)
    status = grows.get("hpa", APP)["status"]
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "AbleToScale": "True", "ScalingActive": "True", "ScalingLimited": "True", "ScaledToZero": "False",
    }  # fmt: skip
    shown = grows.kubectl("get", "hpa", APP, "--no-headers").stdout.split()
    assert shown[1] == f"Deployment/{APP}" and shown[-4:-2] == ["1", "3"]
    # More than any has.
    grows.apply(autoscaler("1Gi"))
    grows.wait_for("one pod", lambda: ready() == 1)
    reasons = [event["message"] for event in grows.get("events", "--field-selector", "reason=SuccessfulRescale")["items"]]
    assert "New size: 3; reason: memory resource above target" in reasons, json.dumps(reasons)
