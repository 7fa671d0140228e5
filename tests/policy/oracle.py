"""Who may reach whom, written straight from the specification of NetworkPolicy, on manifests as a user writes them.

It shares no code with what it judges, knows no indexes and no sets: every question is answered by reading all policies.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

Manifest = dict[str, Any]


@dataclass
class World:
    """``namespaces``: labels by name. Pods carry ``spec.nodeName`` and ``status.podIP``. ``nodes``: addresses by name."""

    namespaces: dict[str, dict[str, str]]
    pods: list[Manifest]
    policies: list[Manifest] = field(default_factory=list)
    nodes: dict[str, str] = field(default_factory=dict)

    def pod_at(self, address: str) -> Manifest | None:
        return next((pod for pod in self.pods if pod["status"]["podIP"] == address), None)


def allowed(world: World, source: str, destination: str, protocol: str, port: int) -> bool:
    """Whether a connection may be begun; ``source`` and ``destination`` are addresses, the protocol is TCP, UDP or SCTP."""
    client, server = world.pod_at(source), world.pod_at(destination)
    if client is not None and client is server:
        return True
    for pod, other in ((client, destination), (server, source)):
        if pod is not None and world.nodes.get(pod["spec"]["nodeName"]) == other:
            return True
    if client is not None and not _direction_allows(world, client, "Egress", destination, server, protocol, port):
        return False
    return server is None or _direction_allows(world, server, "Ingress", source, client, protocol, port)


def _direction_allows(
    world: World, subject: Manifest, direction: str, address: str, other: Manifest | None, protocol: str, port: int
) -> bool:
    policies = [policy for policy in world.policies if _selects(policy, subject) and direction in _types(policy)]
    if not policies:
        return True
    rules_field, peers_field = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    server = subject if direction == "Ingress" else other
    for policy in policies:
        for rule in policy["spec"].get(rules_field) or []:
            if _any_port(rule.get("ports"), server, protocol, port) and _any_peer(
                world, rule.get(peers_field), policy["metadata"]["namespace"], address, other
            ):
                return True
    return False


def _selects(policy: Manifest, pod: Manifest) -> bool:
    same = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return same and selector_matches(policy["spec"].get("podSelector") or {}, pod["metadata"].get("labels") or {})


def _types(policy: Manifest) -> list[str]:
    given: list[str] = policy["spec"].get("policyTypes") or []
    if given:
        return given
    return ["Ingress", "Egress"] if policy["spec"].get("egress") else ["Ingress"]


def _any_port(ports: list[Manifest] | None, server: Manifest | None, protocol: str, port: int) -> bool:
    if not ports:
        return True
    for wanted in ports:
        if wanted.get("protocol", "TCP") != protocol:
            continue
        if "port" not in wanted:
            return True
        if isinstance(wanted["port"], str):
            if server is not None and port in _numbers(server, wanted["port"], protocol):
                return True
        elif wanted["port"] <= port <= (wanted["endPort"] if "endPort" in wanted else wanted["port"]):
            return True
    return False


def _numbers(pod: Manifest, name: str, protocol: str) -> list[int]:
    declared = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    return [port["containerPort"] for port in declared if port.get("name") == name and port.get("protocol", "TCP") == protocol]


def _any_peer(world: World, peers: list[Manifest] | None, namespace: str, address: str, pod: Manifest | None) -> bool:
    if not peers:
        return True
    return any(_peer_matches(world, peer, namespace, address, pod) for peer in peers)


def _peer_matches(world: World, peer: Manifest, namespace: str, address: str, pod: Manifest | None) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        inside = ipaddress.ip_address(address) in ipaddress.ip_network(block["cidr"])
        return inside and not any(ipaddress.ip_address(address) in ipaddress.ip_network(part) for part in block.get("except", []))
    if pod is None:
        return False
    theirs = pod["metadata"]["namespace"]
    if "namespaceSelector" in peer:
        if not selector_matches(peer["namespaceSelector"], world.namespaces[theirs]):
            return False
    elif theirs != namespace:
        return False
    return selector_matches(peer.get("podSelector", {}), pod["metadata"].get("labels") or {})


def selector_matches(selector: Manifest, labels: dict[str, str]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        key, operator, values = rule["key"], rule["operator"], rule.get("values", [])
        holds = {
            "In": key in labels and labels.get(key) in values,
            "NotIn": key not in labels or labels[key] not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[operator]
        if not holds:
            return False
    return True
