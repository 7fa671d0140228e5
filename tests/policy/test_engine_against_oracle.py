"""The engine's rulesets let through what the oracle allows, and nothing else; however they came about."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from services.proxy.policy.engine import PolicyEngine
from services.proxy.policy.explain import Connection, allows
from services.proxy.policy.facts import pod_facts
from services.proxy.policy.model import ChainEntry, ElementEntry, SetEntry, set_name
from tests.policy import walk, worlds
from tests.policy.oracle import Manifest, World, allowed

Probe = tuple[str, str, str, int]


def probes(world: World) -> Iterator[Probe]:
    """Every pod, the outside and a node that is not the pod's own, to every pod and the outside. A pod and its node are not kept apart."""
    pods = {pod["status"]["podIP"]: pod for pod in world.pods}
    for source in (*pods, worlds.OUTSIDE, *world.nodes.values()):
        for destination in (*pods, worlds.OUTSIDE):
            home = world.nodes[pods[destination]["spec"]["nodeName"]] if destination in pods else ""
            if source in pods or (destination in pods and source != home):
                yield from ((source, destination, protocol, port) for protocol, port in worlds.PORTS)


def engines(world: World) -> dict[str, PolicyEngine]:
    found = {node: PolicyEngine(node) for node in world.nodes}
    for engine in found.values():
        walk.fill(engine, world)
        engine.settle()
    return found


def carried(found: dict[str, PolicyEngine], probe: Probe) -> bool:
    """Both nodes must let it through, each for its own pods."""
    return all(walk.passes(engine.entries, *probe, local=f"10.244.{node.removeprefix('node-')}.") for node, engine in found.items())


def check(world: World, found: dict[str, PolicyEngine]) -> None:
    engine = next(iter(found.values()))
    for source, destination, protocol, port in probes(world):
        explained = allows(engine, Connection(source, destination, protocol.lower(), port))
        assert explained == allowed(world, source, destination, protocol, port), (source, destination, protocol, port)
    wrong = [(probe, allowed(world, *probe)) for probe in probes(world) if carried(found, probe) != allowed(world, *probe)]
    assert not wrong, f"{len(wrong)} wrong, the oracle says: {wrong[:5]}"


def assert_same(one: PolicyEngine, other: PolicyEngine) -> None:
    assert one.entries == other.entries


def assert_complete(engine: PolicyEngine) -> None:
    """Nothing is referred to that is not there, and nothing is there that is not referred to."""
    entries = engine.entries
    chains = {entry.name for entry in entries if isinstance(entry, ChainEntry)} - {"unknown"}
    assert chains == {
        str(value) for entry, value in entries.items() if isinstance(entry, ElementEntry) and entry.set in ("ingress", "egress")
    }
    named = {set_name(m.peers) for value in entries.values() if hasattr(value, "matches") for m in value.matches if m.peers is not None}
    assert {entry.name for entry in entries if isinstance(entry, SetEntry)} == named
    fixed = {"known", "selves", "dns", "ingress", "egress"}
    assert {entry.set for entry in entries if isinstance(entry, ElementEntry)} <= named | fixed


@pytest.mark.parametrize("name", worlds.recipes())
def test_recipe(name: str) -> None:
    world = worlds.cluster()
    world.policies = worlds.recipes()[name]
    found = engines(world)
    check(world, found)
    for engine in found.values():
        assert_complete(engine)


@pytest.mark.parametrize("seed", range(120))
def test_generated_policies(seed: int) -> None:
    world = worlds.cluster()
    world.policies = worlds.generated(seed)
    check(world, engines(world))


@pytest.mark.parametrize("seed", range(12))
def test_a_history_of_changes_ends_where_a_fresh_start_does(seed: int) -> None:
    dice = random.Random(seed)
    world = worlds.cluster()
    found = engines(world)
    for _ in range(25):
        change(dice, world, found)
        if dice.random() < 0.5:
            for engine in found.values():
                engine.settle()
    for engine in found.values():
        engine.settle()
        assert_complete(engine)
    check(world, found)
    for node, fresh in engines(world).items():
        assert_same(found[node], fresh)


def change(dice: random.Random, world: World, found: dict[str, PolicyEngine]) -> None:
    kind = dice.choice(["policies", "labels", "namespace", "move", "ports", "absent"])
    pod: Manifest = dice.choice(world.pods)
    if kind == "policies":
        world.policies = dice.choice([[], worlds.generated(dice.randrange(1000)), world.policies[1:]])
    elif kind == "labels":
        pod["metadata"]["labels"] = dict(dice.choice(list(worlds.APPS.values())))
    elif kind == "namespace":
        world.namespaces[dice.choice(list(world.namespaces))] = dict(dice.choice(list(worlds.NAMESPACES.values())))
    elif kind == "move":
        pod["status"]["podIP"] = free_address(world, pod)
    elif kind == "ports":
        pod["spec"]["containers"][0]["ports"][0]["containerPort"] = dice.choice([80, 81, 8080])
    for engine in found.values():
        if kind == "absent":
            engine.put_pod((pod["metadata"]["namespace"], pod["metadata"]["name"]), None)
            if dice.random() < 0.5:
                engine.settle()
        walk.fill(engine, world)


def free_address(world: World, pod: Manifest) -> str:
    prefix = pod["status"]["podIP"].rpartition(".")[0]
    taken = {other["status"]["podIP"] for other in world.pods}
    return next(address for last in range(11, 250) if (address := f"{prefix}.{last}") not in taken)


def test_only_what_a_change_concerns_is_touched() -> None:
    world = worlds.cluster()
    world.policies = worlds.recipes()["several policies add up"] + worlds.recipes()["deny traffic from other namespaces"]
    engine = PolicyEngine()
    walk.fill(engine, world)
    engine.settle()
    assert engine.settle() == set()
    web = next(pod for pod in world.pods if (pod["metadata"]["namespace"], pod["metadata"]["name"]) == ("default", "web"))
    web["metadata"]["labels"] = {}
    facts = pod_facts(walk.pod(web))
    assert facts is not None
    engine.put_pod(facts.key, facts)
    touched = engine.settle()
    assert {entry.key for entry in touched if isinstance(entry, ElementEntry)} == {(facts.address,)}
    assert len(touched) == 1


def test_of_two_pods_with_one_address_the_later_is_believed_and_the_earlier_comes_back() -> None:
    world = worlds.cluster()
    world.policies = worlds.recipes()["deny all traffic to an application"]
    engine = PolicyEngine()
    walk.fill(engine, world)
    engine.settle()
    address = world.pods[0]["status"]["podIP"]
    closed = ElementEntry("ingress", (address,))
    assert closed in engine.entries
    late = worlds.pod("prod", "late", {}, "node-0", address)
    facts = pod_facts(walk.pod(late))
    assert facts is not None
    engine.put_pod(facts.key, facts)
    engine.settle()
    assert closed not in engine.entries
    engine.put_pod(facts.key, None)
    engine.settle()
    assert closed in engine.entries
