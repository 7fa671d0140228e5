"""Random nodes, pods on them and pods that wait, as an API client would write them; of what Kubernetes 1.20 knows already."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

ZONES, DISKS, APPS = ("a", "b", "c"), ("ssd", "hdd"), ("web", "db")
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
GPU = "example.com/gpu"
NAMESPACES = ("default", "other")
TAINTS = (
    ("dedicated", "batch", "NoSchedule"),
    ("flaky", "", "PreferNoSchedule"),
    ("slow", "", "PreferNoSchedule"),
    ("old", "yes", "NoExecute"),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``placed`` name their nodes; ``waiting`` are asked about one after the other, each as if it were the only one."""

    nodes: list[dict[str, Any]]
    placed: list[dict[str, Any]]
    waiting: list[dict[str, Any]]
    # Volumes that lie somewhere, each with the claim that has it; no two of a name, in whichever namespace.
    volumes: list[dict[str, Any]]
    claims: list[dict[str, Any]]

    @classmethod
    def of(cls, seed: int, nodes: int = 9, placed: int = 16, waiting: int = 24) -> Snapshot:
        r = random.Random(seed)
        made = [_node(r, f"n{seed}-{number}") for number in range(nodes)]
        names = [node["metadata"]["name"] for node in made]
        there = [_pod(r, f"placed-{seed}-{number}", node=r.choice(names)) for number in range(placed)]
        wanted = [_pod(r, f"waiting-{seed}-{number}", names=names) for number in range(waiting)]
        volumes, claims = [], []
        for number, pod in enumerate(wanted):
            if r.random() < 0.25:
                volume, claim = _volume(r, f"v{seed}-{number}", pod["metadata"]["namespace"], names)
                volumes.append(volume)
                claims.append(claim)
                pod["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}]
        return cls(made, there, wanted, volumes, claims)


def _volume(r: random.Random, name: str, namespace: str, names: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One that says by its affinity to nodes where it can be used, or by its labels in which zone it is, with its claim."""
    amount, modes = {"storage": "1Gi"}, ["ReadWriteOnce"]
    spec: dict[str, Any] = {"capacity": amount, "accessModes": modes, "hostPath": {"path": "/x"}}
    spec["claimRef"] = {"namespace": namespace, "name": name}
    labels = {}
    if r.random() < 0.5:
        labels[ZONE] = r.choice([*ZONES, "a__b"])
    else:
        key, values = r.choice([(HOST, r.sample(names, 3)), (ZONE, r.sample(ZONES, 2))])
        terms = [{"matchExpressions": [{"key": key, "operator": "In", "values": values}]}]
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, "labels": labels}, "spec": spec}
    metadata = {"name": name, "namespace": namespace, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    said = {"accessModes": modes, "resources": {"requests": amount}, "volumeName": name, "storageClassName": ""}
    return volume, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": said}


def _node(r: random.Random, name: str) -> dict[str, Any]:
    labels = {HOST: name}
    if r.random() < 0.85:
        labels[ZONE] = r.choice(ZONES)
    if r.random() < 0.7:
        labels["disk"] = r.choice(DISKS)
    if r.random() < 0.5:
        labels["cores"] = str(r.choice([2, 4, 8]))
    offered = {"cpu": str(r.choice([1, 2, 4])), "memory": r.choice(["1Gi", "2Gi", "4Gi"]), "pods": str(r.choice([2, 5, 20]))}
    if r.random() < 0.3:
        offered[GPU] = str(r.choice([1, 2]))
    spec: dict[str, Any] = {"taints": [_taint(*taint) for taint in r.sample(TAINTS, r.choice([0, 0, 0, 1, 1, 2]))]}
    if r.random() < 0.1:
        spec["unschedulable"] = True
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"capacity": offered, "allocatable": offered, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def _taint(key: str, value: str, effect: str) -> dict[str, str]:
    return {"key": key, "effect": effect, **({"value": value} if value else {})}


def _pod(r: random.Random, name: str, node: str = "", names: list[str] | None = None) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": "app:1", "resources": _resources(r)}
    if r.random() < 0.2:
        container["ports"] = [{"containerPort": 80, "hostPort": r.choice([8080, 8081]), "protocol": r.choice(["TCP", "UDP"])}]
    spec: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 0, "affinity": _affinity(r)}
    if r.random() < 0.25:
        spec["initContainers"] = [{"name": "first", "image": "app:1", "resources": _resources(r)}]
    if r.random() < 0.2:
        spec["nodeSelector"] = {"disk": r.choice(DISKS)}
    # A node has this taint from its beginning, and nobody is there who would take it away.
    spec["tolerations"] = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"}]
    if r.random() < 0.6:
        spec["tolerations"] += [_toleration(r) for _ in range(r.choice([1, 2, 3]))]
    # 1.20 counts pods on nodes of a domain that the pod cannot go to; newer Kubernetes those on its own alone (`nodeAffinityPolicy`).
    free = "nodeSelector" not in spec and "requiredDuringSchedulingIgnoredDuringExecution" not in spec["affinity"].get("nodeAffinity", {})
    if free and r.random() < 0.5:
        spec["topologySpreadConstraints"] = [_spread(r, key) for key in r.sample([ZONE, HOST], r.choice([1, 1, 2]))]
    if node:
        spec["nodeName"] = node
    elif names and "topologySpreadConstraints" not in spec and r.random() < 0.05:
        spec["affinity"]["nodeAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [r.choice(names)]}]}]
            }
        }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": r.choice(NAMESPACES),
            "labels": {"app": r.choice(APPS), "tier": r.choice(["front", "back"])},
        },
        "spec": spec,
    }


def _resources(r: random.Random) -> dict[str, Any]:
    # 1.20 has no room for a pod that asks for none of what a node has promised too much of.
    requests = {"cpu": r.choice(["50m", "100m", "300m", "900m"]), "memory": r.choice(["64Mi", "200Mi", "700Mi"])}
    limits = {GPU: "1"} if r.random() < 0.12 else {}
    return {"requests": {**requests, **limits}, "limits": limits}


def _toleration(r: random.Random) -> dict[str, str]:
    key, value, effect = r.choice(TAINTS)
    found = {"key": key, "operator": "Exists"} if r.random() < 0.5 else {"key": key, "operator": "Equal", "value": value}
    return {**found, **({"effect": effect} if r.random() < 0.6 else {})}


def _affinity(r: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if r.random() < 0.3:
        found["nodeAffinity"] = _node_affinity(r)
    for kind, chance in (("podAffinity", 0.2), ("podAntiAffinity", 0.3)):
        if r.random() < chance:
            found[kind] = _pod_affinity(r)
    return found


def _node_affinity(r: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if r.random() < 0.6:
        terms = [{"matchExpressions": [_expression(r) for _ in range(r.choice([1, 2]))]} for _ in range(r.choice([1, 2]))]
        found["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    if r.random() < 0.7:
        preferred = [
            {"weight": r.choice([1, 30, 100]), "preference": {"matchExpressions": [_expression(r)]}} for _ in range(r.choice([1, 2]))
        ]
        found["preferredDuringSchedulingIgnoredDuringExecution"] = preferred
    return found


def _expression(r: random.Random) -> dict[str, Any]:
    match r.choice(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]):
        case "In" | "NotIn" as operator:
            return {"key": "disk", "operator": operator, "values": [r.choice(DISKS)]}
        case "Gt" | "Lt" as operator:
            return {"key": "cores", "operator": operator, "values": [str(r.choice([2, 4]))]}
        case operator:
            return {"key": r.choice(["disk", ZONE]), "operator": operator}


def _pod_affinity(r: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if r.random() < 0.6:
        found["requiredDuringSchedulingIgnoredDuringExecution"] = [_term(r)]
    if r.random() < 0.6:
        found["preferredDuringSchedulingIgnoredDuringExecution"] = [{"weight": r.choice([1, 50, 100]), "podAffinityTerm": _term(r)}]
    return found


def _term(r: random.Random) -> dict[str, Any]:
    selector = (
        {"matchLabels": {"app": r.choice(APPS)}} if r.random() < 0.7 else {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}
    )
    return {
        "topologyKey": r.choice([ZONE, HOST]),
        "labelSelector": selector,
        **({"namespaces": list(NAMESPACES)} if r.random() < 0.3 else {}),
    }


def _spread(r: random.Random, key: str) -> dict[str, Any]:
    return {
        "maxSkew": r.choice([1, 2]),
        "topologyKey": key,
        "whenUnsatisfiable": r.choice(["DoNotSchedule", "ScheduleAnyway"]),
        "labelSelector": {"matchLabels": {"app": r.choice(APPS)}},
    }
