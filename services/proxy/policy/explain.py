"""Why one connection may be begun or not: asked of the policies themselves, not of the ruleset made of them.

It knows the pods of all nodes, so it answers for connections that other nodes judge too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.proxy.policy.engine import PolicyEngine
from services.proxy.policy.facts import EGRESS, INGRESS, BlockPeer, Peer, PodFacts, PolicyFacts, Ports

Names = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Connection:
    """The first packet. ``named``: the address and port the client asked for, where a Service led it to the destination."""

    source: str
    destination: str
    protocol: str
    port: int
    named: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is judged of one direction. ``policies``: those that allow it; else those that isolate the pod, none when it is not isolated."""

    direction: str
    pod: PodFacts
    isolated: bool
    allowed: bool
    policies: tuple[PolicyFacts, ...] = ()


def judge(engine: PolicyEngine, connection: Connection) -> list[Judgement]:
    """Egress of the source and ingress of the destination, as far as they are pods. A pod may always reach itself."""
    source, destination = engine.pod_at(connection.source), engine.pod_at(connection.destination)
    if source is not None and source is destination:
        return []
    found = []
    if source is not None:
        found.append(_judge(engine, EGRESS, source, connection.destination, destination, connection))
    if destination is not None:
        found.append(_judge(engine, INGRESS, destination, connection.source, source, connection))
    return found


def allows(engine: PolicyEngine, connection: Connection) -> bool:
    return all(judgement.allowed for judgement in judge(engine, connection))


def _judge(engine: PolicyEngine, direction: str, pod: PodFacts, address: str, other: PodFacts | None, connection: Connection) -> Judgement:
    governing = [policy for policy in engine.selecting(pod) if policy.rules(direction) is not None]
    if not governing:
        return Judgement(direction, pod, False, True)
    admitting = tuple(policy for policy in governing if _admits(engine, policy, direction, pod, address, other, connection))
    return Judgement(direction, pod, True, bool(admitting), admitting or tuple(governing))


def _admits(
    engine: PolicyEngine,
    policy: PolicyFacts,
    direction: str,
    pod: PodFacts,
    address: str,
    other: PodFacts | None,
    connection: Connection,
) -> bool:
    server = pod if direction == INGRESS else other
    names: Names = server.ports if server is not None else {}
    for rule in policy.rules(direction) or ():
        if rule.peers == ():
            continue
        peers, ports = rule.peers or (None,), rule.ports or (None,)
        known = any(_is(engine, peer, address, other) for peer in peers)
        if known and any(_covers(port, connection.protocol, connection.port, names) for port in ports):
            return True
        if direction == EGRESS and _admits_dns(engine, peers, ports, connection):
            return True
    return False


def _admits_dns(engine: PolicyEngine, peers: tuple[Peer | None, ...], ports: tuple[Ports | None, ...], connection: Connection) -> bool:
    """The cluster's DNS is judged by what the client named."""
    dns = engine.dns
    if dns is None or connection.named is None or connection.named[0] not in dns.addresses:
        return False
    number = connection.named[1]
    return any(engine.is_dns(peer, dns) for peer in peers) and any(_covers(port, connection.protocol, number, dns.ports) for port in ports)


def _is(engine: PolicyEngine, peer: Peer | None, address: str, pod: PodFacts | None) -> bool:
    if peer is None:
        return True
    if isinstance(peer, BlockPeer):
        return address in peer
    return pod is not None and engine.wants(peer, pod.namespace) and peer.pods.matches(pod.labels)


def _covers(port: Ports | None, protocol: str, number: int, names: Names) -> bool:
    if port is None:
        return True
    if port.protocol != protocol:
        return False
    if port.name:
        return names.get((port.name, protocol)) == number
    return port.low <= number <= port.high
