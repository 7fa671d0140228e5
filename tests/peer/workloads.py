"""Workloads of each kind, and what is true of them once somebody carries them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NAMESPACE = "/namespaces/default"
APPS, BATCH, CORE = f"/apis/apps/v1{NAMESPACE}", f"/apis/batch/v1{NAMESPACE}", f"/api/v1{NAMESPACE}"


def template(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "hello:1"}], **spec}}


def workload(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    selected: dict[str, Any] = {"app": name} if kind == "ReplicationController" else {"matchLabels": {"app": name}}
    api_version = "v1" if kind == "ReplicationController" else "apps/v1"
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": selected, "template": template(name), **spec},
    }


def job_spec(name: str) -> dict[str, Any]:
    return {"template": template(name, restartPolicy="Never")}


def job(name: str) -> dict[str, Any]:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job_spec(name)}


# By kind: the collection, the object, and what its status comes to.
WORKLOADS: dict[str, tuple[str, dict[str, Any], Callable[[Any], bool]]] = {
    "Deployment": (
        f"{APPS}/deployments",
        workload("Deployment", "a-deployment", replicas=2),
        lambda found: found["status"]["availableReplicas"] == 2,
    ),
    "ReplicaSet": (
        f"{APPS}/replicasets",
        workload("ReplicaSet", "a-replicaset", replicas=2),
        lambda found: found["status"]["availableReplicas"] == 2,
    ),
    "StatefulSet": (
        f"{APPS}/statefulsets",
        workload("StatefulSet", "a-statefulset", replicas=2, serviceName="s"),
        lambda found: found["status"]["readyReplicas"] == 2,
    ),
    "DaemonSet": (
        f"{APPS}/daemonsets",
        workload("DaemonSet", "a-daemonset"),
        lambda found: found["status"]["numberAvailable"] == 2,
    ),
    "ReplicationController": (
        f"{CORE}/replicationcontrollers",
        workload("ReplicationController", "a-controller", replicas=2),
        lambda found: found["status"]["availableReplicas"] == 2,
    ),
    "Job": (f"{BATCH}/jobs", job("a-job"), lambda found: found["status"]["active"] == 1),
}  # fmt: skip
