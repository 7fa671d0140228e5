"""What the registry is in the cluster: objects by their paths. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NAME = "registry"
NAMESPACE = "knarr-registry"
# By it what belongs to an add-on is known.
LABEL = "knarr.dev/addon"
# Within the cluster; outside it is the port of the machine's loopback that was chosen.
PORT = 5000
IN_CLUSTER = f"{NAME}.{NAMESPACE}.svc:{PORT}"
FOLDER = "/var/lib/registry"
# Nobody on the machine.
USER = 65532
STORAGE = "10Gi"

NAMESPACE_PATH = f"/api/v1/namespaces/{NAMESPACE}"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}"
CLAIM = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/images"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SERVICE = f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}"
# Where tools look for the registry of a cluster (KEP-1755).
HOSTING = "/api/v1/namespaces/kube-public/configmaps/local-registry-hosting"


@dataclass(frozen=True, slots=True)
class Piece:
    """An object, and where it is."""

    path: str
    body: dict[str, Any]


def pieces(image: str, port: int) -> list[Piece]:
    """All but the claim, in the order in which they can be made. ``port`` is that of the machine's loopback."""
    return [
        Piece(NAMESPACE_PATH, _object("v1", "Namespace", NAMESPACE)),
        Piece(DEPLOYMENT, {**_object("apps/v1", "Deployment", NAME), "spec": _deployment(image, port)}),
        Piece(
            SERVICE, {**_object("v1", "Service", NAME), "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT, "targetPort": PORT}]}}
        ),
        Piece(HOSTING, {**_object("v1", "ConfigMap", "local-registry-hosting"), "data": {"localRegistryHosting.v1": hosting(port)}}),
    ]


def claim() -> Piece:
    """Apart from the others: people make it larger, and it is not made smaller again."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": STORAGE}}}
    return Piece(CLAIM, {**_object("v1", "PersistentVolumeClaim", "images"), "spec": spec})


def hosting(port: int) -> str:
    return f'host: "localhost:{port}"\nhostFromContainerRuntime: "localhost:{port}"\nhostFromClusterNetwork: "{IN_CLUSTER}"\n'


def port_of(deployment: Any) -> int:
    """The port that a Deployment has already."""
    (port,) = deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
    return int(port["hostPort"])


def image_of(deployment: Any) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def is_available(deployment: Any) -> bool:
    """Whether it is as it was asked for last, and answers."""
    status = deployment.get("status") or {}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return bool(seen and status.get("updatedReplicas", 0) == 1 and status.get("availableReplicas", 0) == 1)


def _object(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": {LABEL: NAME}}}


def _deployment(image: str, port: int) -> dict[str, Any]:
    return {
        "replicas": 1,
        # Its port and its volume are for one at a time.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app": NAME}},
        "template": {"metadata": {"labels": {"app": NAME}}, "spec": _pod(image, port)},
    }


def _pod(image: str, port: int) -> dict[str, Any]:
    answers = {"httpGet": {"path": "/v2/", "port": PORT}}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER},
        "containers": [
            {
                "name": NAME,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "env": [
                    {"name": "REGISTRY_HTTP_ADDR", "value": f":{PORT}"},
                    {"name": "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "value": FOLDER},
                    {"name": "REGISTRY_STORAGE_DELETE_ENABLED", "value": "true"},
                    {"name": "OTEL_TRACES_EXPORTER", "value": "none"},
                ],
                # At the loopback alone: whoever reaches the machine from elsewhere could push, for it asks for no password.
                "ports": [{"containerPort": PORT, "hostPort": port, "hostIP": "127.0.0.1"}],
                "readinessProbe": {**answers, "periodSeconds": 2},
                "livenessProbe": {**answers, "periodSeconds": 10, "failureThreshold": 6},
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "images", "mountPath": FOLDER}],
            }
        ],
        "volumes": [{"name": "images", "persistentVolumeClaim": {"claimName": "images"}}],
    }
