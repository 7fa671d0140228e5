"""What admission gives and refuses: LimitRanges, quotas and runtime classes, asked of both servers alike."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.peer.peers import TIMEOUT_SECONDS, Answer, Ask, Peer, Peers

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

ANNOTATION = "kubernetes.io/limit-ranger"
DRY = {"dryRun": "All"}


def pod(name: str, *containers: Any, init: Any = (), **spec: Any) -> dict[str, Any]:
    """Containers as their requests and limits."""

    def made(prefix: str, found: Any) -> list[dict[str, Any]]:
        return [
            {"name": f"{prefix}{index}", "image": "busybox", "resources": {"requests": requests, "limits": limits}}
            for index, (requests, limits) in enumerate(found)
        ]

    return {"metadata": {"name": name}, "spec": {"containers": made("c", containers), "initContainers": made("i", init), **spec}}


def claim(name: str, storage: str, **spec: Any) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}, **spec}
    return {"metadata": {"name": name}, "spec": spec}


def service(name: str, kind: str, ports: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80 + n, "name": f"p{n}"} for n in range(ports)]}}


def shown(answer: Answer) -> Any:
    """What both have to answer alike."""
    if answer.status >= 400:
        # Several reasons stand in any order there.
        what, _, reasons = as_older(answer.body["message"]).partition(" is forbidden: ")
        return answer.status, what, sorted(reasons.strip("[]").split(", "))
    body = answer.body
    if body["kind"] != "Pod":
        return answer.status, body.get("spec", {}).get("resources")
    spec = body["spec"]
    resources = [container.get("resources") for container in (*spec["containers"], *spec.get("initContainers", ()))]
    told = body["metadata"].get("annotations", {}).get(ANNOTATION)
    return answer.status, resources, told, spec.get("overhead"), spec.get("nodeSelector"), spec.get("tolerations")


def as_older(message: str) -> str:
    """Newer Kubernetes names the containers that say too little, and adds amounts in the notation that they have."""
    return re.sub(r" for: [^;]*(; |$)", lambda found: "," if found[1] else "", message).replace("2147483648", "2Gi")


def until(peer: Peer, ask: Ask, status: int) -> None:
    """Kubernetes' plugins hear some moments later of what limits them."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while peer.ask(ask).status != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def prepared(peers: Peers, name: str, *objects: tuple[str, dict[str, Any]]) -> str:
    """A namespace with its account and what limits it; its path."""
    path = f"/api/v1/namespaces/{name}"
    account = ("serviceaccounts", {"metadata": {"name": "default"}})
    for peer in (peers.theirs, peers.ours):
        assert peer.ask(Ask("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})).status == 201
        for plural, body in (account, *objects):
            answer = peer.ask(Ask("POST", f"{path}/{plural}", body=body))
            assert answer.status == 201 or answer.status == 409, answer.body
    return path


LIMITS = {
    "metadata": {"name": "l"},
    "spec": {
        "limits": [
            {
                "type": "Container",
                "max": {"cpu": "2", "memory": "1Gi"},
                "min": {"cpu": "50m"},
                "default": {"cpu": "500m", "memory": "128Mi"},
                "defaultRequest": {"cpu": "0.1"},
                "maxLimitRequestRatio": {"cpu": "10"},
            },
            {"type": "Pod", "max": {"cpu": "3", "memory": "1536Mi"}},
            {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "10Gi"}},
        ]
    },
}
LIMITED = [
    pod("plain", ({}, {})),
    pod("two", ({"cpu": "200m"}, {}), ({}, {"memory": "1Gi"}), init=[({}, {})]),
    pod("much", ({}, {"cpu": "2500m"})),
    pod("little", ({"cpu": "10m"}, {"cpu": "1"})),
    pod("ratio", ({"cpu": "100m"}, {"cpu": "1500m"})),
    pod("together", ({}, {"cpu": "2", "memory": "1Gi"}), ({"cpu": "1"}, {"cpu": "1500m", "memory": "1Gi"})),
    pod("init", ({}, {}), init=[({}, {"cpu": "1", "memory": "2Gi"})]),
    claim("small", "512Mi"),
    claim("large", "11Gi"),
    claim("right", "5Gi"),
]


def test_limit_ranges(peers: Peers) -> None:
    path = prepared(peers, "limited", ("limitranges", LIMITS))
    until(peers.theirs, Ask("POST", f"{path}/pods", DRY, body=LIMITED[2]), 403)
    for body in LIMITED:
        plural = "pods" if "containers" in body["spec"] else "persistentvolumeclaims"
        theirs, ours = peers.ask(Ask("POST", f"{path}/{plural}", body=body))
        assert shown(ours) == shown(theirs), body["metadata"]["name"]


HARD = {
    "pods": "2", "count/pods": "9", "requests.cpu": "1", "limits.memory": "1Gi", "services.nodeports": "2", "services.loadbalancers": "1",
    "configmaps": "1", "count/deployments.apps": "1", "requests.storage": "10Gi", "requests.example.com/gpu": "1",
    "gold.storageclass.storage.k8s.io/requests.storage": "3Gi",
}  # fmt: skip
AMOUNTS = {"cpu": "600m", "memory": "300Mi"}
DEPLOYMENT = {
    "metadata": {"name": "d"},
    "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}},
    },
}
GPU = {**AMOUNTS, "cpu": "1m", "example.com/gpu": "2"}
CHARGED = [
    ("pods", pod("none", ({}, {}), init=[({"cpu": "1"}, {})])),
    ("pods", pod("first", (AMOUNTS, AMOUNTS))),
    ("pods", pod("more", (AMOUNTS, AMOUNTS))),
    ("pods", pod("gpu", (GPU, GPU))),
    ("pods", pod("init", ({"cpu": "1m"}, {"memory": "1Mi"}), init=[({"cpu": "300m"}, {"memory": "1Mi"})])),
    ("pods", pod("third", ({"cpu": "1m"}, {"memory": "1Mi"}))),
    ("services", service("ports", "NodePort", 3)),
    ("services", service("balanced", "LoadBalancer", 2)),
    ("services", service("second", "LoadBalancer")),
    ("services", service("plain", "ClusterIP")),
    ("configmaps", {"metadata": {"name": "a"}}),
    ("configmaps", {"metadata": {"name": "b"}}),
    ("persistentvolumeclaims", claim("a", "2Gi", storageClassName="gold")),
    ("persistentvolumeclaims", claim("b", "2Gi", storageClassName="gold")),
    ("persistentvolumeclaims", claim("c", "8Gi", storageClassName="tin")),
    ("persistentvolumeclaims", claim("d", "1Mi", storageClassName="tin")),
    ("deployments", DEPLOYMENT),
    ("deployments", {**DEPLOYMENT, "metadata": {"name": "e"}}),
]


def test_quotas(peers: Peers) -> None:
    path = prepared(peers, "counted", ("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": HARD}}))
    for peer in (peers.theirs, peers.ours):
        status = {"metadata": {"name": "q"}, "status": {"hard": HARD, "used": dict.fromkeys(HARD, "0")}}
        answer = peer.ask(Ask("PATCH", f"{path}/resourcequotas/q/status", body=status, content_type="application/merge-patch+json"))
        assert answer.status == 200, answer.body
    until(peers.theirs, Ask("POST", f"{path}/pods", DRY, body=CHARGED[0][1]), 403)
    for plural, body in CHARGED:
        where = path.replace("/api/v1", "/apis/apps/v1") if plural == "deployments" else path
        theirs, ours = peers.ask(Ask("POST", f"{where}/{plural}", body=body))
        assert shown(ours) == shown(theirs), body["metadata"]["name"]
        used = [answer.body["status"]["used"] for answer in peers.ask(Ask("GET", f"{path}/resourcequotas/q"))]
        assert used[1] == used[0], body["metadata"]["name"]


CLASS = {
    "metadata": {"name": "costly"},
    "handler": "h",
    "overhead": {"podFixed": {"cpu": "250m"}},
    "scheduling": {"nodeSelector": {"kind": "big"}, "tolerations": [{"key": "big", "operator": "Exists"}, {"key": "a", "value": "b"}]},
}


def test_runtime_classes(peers: Peers) -> None:
    path = prepared(peers, "classes")
    for peer in (peers.theirs, peers.ours):
        assert peer.ask(Ask("POST", "/apis/node.k8s.io/v1/runtimeclasses", body=CLASS)).status == 201
    tolerations = [{"key": "a", "operator": "Exists"}, {"key": "c", "operator": "Exists"}]
    for spec in (
        {"runtimeClassName": "costly"},
        {"runtimeClassName": "costly", "tolerations": tolerations, "nodeSelector": {"other": "x"}},
        {"runtimeClassName": "costly", "nodeSelector": {"kind": "small"}},
        {"runtimeClassName": "costly", "overhead": {"cpu": "1"}},
        {"runtimeClassName": "costly", "overhead": {"cpu": "0.25"}},
        {"overhead": {"cpu": "1"}},
        {"runtimeClassName": "gone"},
    ):
        theirs, ours = peers.ask(Ask("POST", f"{path}/pods", DRY, body=pod("p", ({}, {}), **spec)))
        assert shown(ours) == shown(theirs), spec
