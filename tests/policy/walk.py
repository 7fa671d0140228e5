"""A packet's way through a wanted ruleset, as the kernel would take it; and worlds put into an engine."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.machinery import codec
from knarr.machinery.catalog import version_of
from services.apiserver.strategies import strategy_for
from services.proxy.policy.engine import PolicyEngine
from services.proxy.policy.facts import BlockPeer, pod_facts, policy_facts
from services.proxy.policy.model import (
    DNS,
    KNOWN,
    SELVES,
    UNKNOWN,
    ChainEntry,
    Drop,
    ElementEntry,
    Entries,
    Match,
    Rights,
    SetEntry,
    set_name,
)
from tests.policy.oracle import Manifest, World


def policy(manifest: Manifest) -> networking.NetworkPolicy:
    """As the API server stores it."""
    made: Any = codec.from_json(networking.NetworkPolicy, manifest, codec.UnknownFields.REJECT).message
    strategy_for(version_of(networking.NetworkPolicy)).default(made)
    return made  # type: ignore[no-any-return]


def pod(manifest: Manifest) -> core.Pod:
    made: Any = codec.from_json(core.Pod, manifest, codec.UnknownFields.REJECT).message
    return made  # type: ignore[no-any-return]


def fill(engine: PolicyEngine, world: World) -> None:
    for name, labels in world.namespaces.items():
        engine.put_namespace(name, labels)
    for manifest in world.pods:
        found = pod_facts(pod(manifest))
        assert found is not None
        engine.put_pod(found.key, found)
    put_policies(engine, world.policies)


def put_policies(engine: PolicyEngine, manifests: list[Manifest]) -> None:
    """The policies that there are from now on."""
    wanted = {found.key: found for found in map(policy_facts, map(policy, manifests))}
    for key in engine.policies.keys() - wanted.keys():
        engine.put_policy(key, None)
    for key, found in wanted.items():
        engine.put_policy(key, found)


def passes(
    entries: Entries, source: str, destination: str, protocol: str, port: int, *, local: str, named: tuple[str, int] | None = None
) -> bool:
    """Whether the first packet of a connection is forwarded. ``local``: prefix of this node's pods' addresses. ``named``: the address and
    port that the client named, where that was a Service's.
    """
    if ElementEntry(SELVES, (source, destination)) in entries:
        return True
    for address, direction, other in ((source, "egress", destination), (destination, "ingress", source)):
        if not address.startswith(local):
            continue
        unknown = entries[ChainEntry(UNKNOWN)]
        assert isinstance(unknown, Drop)
        if unknown.closed and ElementEntry(KNOWN, (address,)) not in entries:
            return False
        chain = entries.get(ElementEntry(direction, (address,)))
        if chain is None:
            continue
        rights = entries[ChainEntry(str(chain))]
        assert isinstance(rights, Rights)
        if not any(_matches(entries, match, other, protocol.lower(), port, named) for match in rights.matches):
            return False
    return True


def _matches(entries: Entries, match: Match, address: str, protocol: str, port: int, named: tuple[str, int] | None) -> bool:
    if match.dns:
        if named is None or ElementEntry(DNS, (named[0],)) not in entries:
            return False
        port = named[1]
    if match.peers is not None:
        assert SetEntry(set_name(match.peers)) in entries
        if isinstance(match.peers, BlockPeer):
            if not any(low <= int(IPv4Address(address)) <= high for low, high in match.peers.ranges):
                return False
        elif ElementEntry(set_name(match.peers), (address,)) not in entries:
            return False
    return not match.protocol or (match.protocol == protocol and match.low <= port <= match.high)
