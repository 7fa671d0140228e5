"""A small cluster of three namespaces on two nodes, and policy sets for it: the well-known recipes, and any number of generated ones."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import yaml

from tests.policy.oracle import Manifest, World

RECIPES = Path(__file__).parent / "recipes.yaml"
OUTSIDE = "198.51.100.2"
NODES = {"node-0": "192.168.50.10", "node-1": "192.168.50.11"}
NAMESPACES = {
    "default": {"kubernetes.io/metadata.name": "default"},
    "prod": {"kubernetes.io/metadata.name": "prod", "purpose": "production", "team": "ops"},
    "test": {"kubernetes.io/metadata.name": "test", "purpose": "testing"},
}
APPS = {
    "web": {"app": "web", "tier": "front"},
    "db": {"app": "db", "tier": "data", "role": "primary"},
    "probe": {"role": "probe"},
}
PORTS = (("TCP", 80), ("TCP", 81), ("TCP", 8080), ("UDP", 53))


def pod(namespace: str, name: str, labels: dict[str, str], node: str, address: str) -> Manifest:
    """The name `web` means another number in namespace test."""
    ports = [
        {"name": "web", "containerPort": 8080 if namespace == "test" else 80},
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "x", "ports": ports}]},
        "status": {"podIP": address, "phase": "Running"},
    }


def cluster() -> World:
    """Nine pods: a web, a db and a probe in each namespace, on alternating nodes (10.244.<node>.11 …)."""
    pods: list[Manifest] = []
    seats = dict.fromkeys(NODES, 11)
    for number, (namespace, app) in enumerate((namespace, app) for namespace in NAMESPACES for app in APPS):
        node = f"node-{number % 2}"
        pods.append(pod(namespace, app, dict(APPS[app]), node, f"10.244.{number % 2}.{seats[node]}"))
        seats[node] += 1
    return World(copy.deepcopy(NAMESPACES), pods, [], dict(NODES))


def recipes() -> dict[str, list[Manifest]]:
    """Policy sets by name."""
    return {document["name"]: [policy_of(entry) for entry in document["policies"]] for document in yaml.safe_load_all(RECIPES.read_text())}


def policy_of(entry: dict[str, Any]) -> Manifest:
    name = {"namespace": entry.get("namespace", "default"), "name": entry.get("name", "policy")}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": name, "spec": entry["spec"]}


def generated(seed: int) -> list[Manifest]:
    """One to six policies, each of up to three rules in each direction."""
    dice = random.Random(seed)
    return [
        policy_of({"namespace": dice.choice(list(NAMESPACES)), "name": f"policy-{number}", "spec": _spec(dice)})
        for number in range(dice.randint(1, 6))
    ]


def _spec(dice: random.Random) -> dict[str, Any]:
    spec: dict[str, Any] = {"podSelector": _pod_selector(dice)}
    if dice.random() < 0.6:
        spec["ingress"] = [_rule(dice, "from") for _ in range(dice.randint(0, 3))]
    if dice.random() < 0.5:
        spec["egress"] = [_rule(dice, "to") for _ in range(dice.randint(0, 3))]
    if dice.random() < 0.6:
        spec["policyTypes"] = dice.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"]])
    return spec


def _rule(dice: random.Random, peers: str) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    if dice.random() < 0.8:
        rule[peers] = [_peer(dice) for _ in range(dice.randint(1, 3))]
    if dice.random() < 0.6:
        rule["ports"] = [_port(dice) for _ in range(dice.randint(1, 2))]
    return rule


def _peer(dice: random.Random) -> dict[str, Any]:
    if dice.random() < 0.25:
        cidr, exceptions = dice.choice(
            [
                ("0.0.0.0/0", []),
                ("0.0.0.0/0", ["10.244.0.0/16"]),
                ("10.244.0.0/16", ["10.244.1.0/24", "10.244.0.12/32"]),
                ("198.51.100.0/24", []),
                ("198.51.100.0/24", ["198.51.100.2/32"]),
                ("192.168.50.0/24", []),
            ]
        )
        return {"ipBlock": {"cidr": cidr, **({"except": exceptions} if exceptions else {})}}
    peer: dict[str, Any] = {}
    if dice.random() < 0.6:
        peer["podSelector"] = _pod_selector(dice)
    if not peer or dice.random() < 0.5:
        peer["namespaceSelector"] = dice.choice(
            [
                {},
                {"matchLabels": {"purpose": "production"}},
                {"matchExpressions": [{"key": "purpose", "operator": "NotIn", "values": ["testing"]}]},
                {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
            ]
        )
    return peer


def _pod_selector(dice: random.Random) -> dict[str, Any]:
    return dice.choice(
        [
            {},
            {"matchLabels": {"app": "web"}},
            {"matchLabels": {"app": "db", "tier": "data"}},
            {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]},
            {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]},
            {"matchExpressions": [{"key": "role", "operator": "Exists"}, {"key": "tier", "operator": "NotIn", "values": ["data"]}]},
        ]
    )


def _port(dice: random.Random) -> dict[str, Any]:
    return dice.choice(
        [
            {"port": 80},
            {"port": 80, "endPort": 81},
            {"port": 79, "endPort": 9000},
            {"port": "web"},
            {"port": "web", "protocol": "UDP"},
            {"port": "dns", "protocol": "UDP"},
            {"protocol": "UDP"},
            {"protocol": "TCP"},
            {"port": 53, "protocol": "UDP"},
            {"protocol": "SCTP"},
        ]
    )
