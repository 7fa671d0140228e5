"""Autoscalers as the tests of their controller make them."""

from __future__ import annotations

from typing import Any

import orjson

from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.machinery import codec

KINDS = {"resource": "Resource", "containerResource": "ContainerResource", "pods": "Pods", "object": "Object", "external": "External"}


def metric(source: str, **fields: Any) -> dict[str, Any]:
    """By the name of the field that describes it, as JSON."""
    return {"type": KINDS[source], source: fields}


def cpu(percent: int) -> dict[str, Any]:
    return metric("resource", name="cpu", target={"type": "Utilization", "averageUtilization": percent})


def autoscaler(
    *metrics: dict[str, Any],
    name: str = "web",
    least: int = 1,
    most: int = 10,
    behavior: dict[str, Any] | None = None,
    kind: str = "Deployment",
    api_version: str = "apps/v1",
) -> autoscaling.HorizontalPodAutoscaler:
    """Of what is called ``web``."""
    spec: dict[str, Any] = {
        "scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": "web"},
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": list(metrics),
    }
    if behavior is not None:
        spec["behavior"] = behavior
    found = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
    made: autoscaling.HorizontalPodAutoscaler = codec.from_json(autoscaling.HorizontalPodAutoscaler, orjson.dumps(found)).message
    return made
