"""What the strategies of Deployment and ReplicaSet share."""

from __future__ import annotations

from typing import Any

from services.apiserver.strategies.pod.defaults import default_pod_spec


def default_replicas(spec: Any) -> None:
    if not spec.HasField("replicas"):
        spec.replicas = 1


def default_template(spec: Any) -> None:
    """Fills in the pod template of a workload's spec."""
    default_pod_spec(spec.template.spec)
