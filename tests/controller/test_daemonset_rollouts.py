"""DaemonSets step by step: golden scenarios, and random ones that must never break their limits.

A scenario file holds commands, each followed by ``----`` and what came of it:

- ``nodes a b`` adds nodes, ``node a zone=x taint=key:NoSchedule`` one; ``taint``, ``untaint`` and ``remove`` change them.
- ``deploy key=value …`` changes the DaemonSet; ``ready``, ``unready``, ``fail``, ``succeed`` and ``delete`` what is on the nodes
  named, or on all; ``unbind`` a pod that the scheduler has not bound yet.
- ``wait seconds`` lets time pass; ``linger true|false`` says whether pods that are deleted stay until they ``leave``.

``pytest --rewrite tests/controller/test_daemonset_rollouts.py`` writes what happens now into the files; read the difference before you
commit it.
"""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from knarr.objects.conditions import set_condition
from knarr.objects.keys import is_deleting
from knarr.objects.pods import is_ready
from services.controller.controllers.daemonset.placement import fit
from services.controller.controllers.daemonset.rolling import limits
from tests.controller.daemons import World, told
from tests.controller.rollout import random_amount
from tests.controller.stepped import play
from tests.support import golden

SCENARIOS = sorted((Path(__file__).parent / "daemonsets").glob("*.txt"))


def command(world: World, line: str) -> None:
    verb, *words = line.split()
    pairs = dict(word.split("=") for word in words if "=" in word)
    match verb:
        case "nodes":
            for name in words:
                world.add_node(name)
        case "node":
            world.add_node(words[0], pairs.get("zone", ""))
            if "taint" in pairs:
                command(world, f"taint {words[0]} {pairs['taint']}")
        case "taint":
            for key, effect in (word.rsplit(":", 1) for word in words[1:]):
                world.nodes[words[0]].spec.taints.add(key=key, effect=effect)
        case "untaint":
            del world.nodes[words[0]].spec.taints[:]
        case "remove":
            del world.nodes[words[0]]
        case "deploy":
            world.edit(**pairs)
        case "ready" | "unready":
            world.mark(world.on(*words), verb == "ready")
        case "fail" | "succeed":
            for pod in world.on(*words):
                pod.status.phase = "Failed" if verb == "fail" else "Succeeded"
                set_condition(pod.status, "Ready", False, now=world.now)
        case "unbind":
            for pod in world.on(*words):
                pod.spec.node_name, pod.status.phase = "", "Pending"
        case "delete":
            for pod in world.on(*words):
                world._delete(pod)
        case "leave":
            world.pods[:] = [pod for pod in world.pods if not is_deleting(pod)]
        case "wait":
            world.now += timedelta(seconds=float(words[0]))
        case "linger":
            world.linger = words[0] == "true"
        case _:
            raise ValueError(line)


def state(world: World, steps: list[str]) -> list[str]:
    status, again = world.target.status, world.plan().again_seconds
    names = sorted({*world.nodes, *(pod.spec.node_name for pod in world.pods)})
    places = [f"{name}: {', '.join(told(pod) for pod in world.pods if pod.spec.node_name == name) or 'none'}" for name in names]
    counts = (
        f"desired {status.desired_number_scheduled}, current {status.current_number_scheduled}, "
        f"updated {status.updated_number_scheduled}, ready {status.number_ready}, available {status.number_available}, "
        f"unavailable {status.number_unavailable}, misscheduled {status.number_misscheduled}"
    )
    return [*(f"  {step}" for step in steps), f"  {'; '.join(places)}", f"  {counts}", *([f"  again in {again:g} s"] if again else [])]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    golden.check(path, play(path.read_text(), World(), command, state, settle_each=True))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
@example(seed=787)  # two old pods on a node, of which the younger one serves
def test_an_update_never_leaves_its_limits_and_ends(seed: int) -> None:
    rng = random.Random(seed)
    world = World()
    for number in range(rng.randrange(1, 9)):
        world.add_node(f"node-{number}", rng.choice(["near", "far"]))
    surge = rng.random() < 0.5
    world.edit(surge=random_amount(rng) if surge else "0", unavailable="0" if surge else random_amount(rng), image="v0")
    _finish(world)
    for number in range(rng.randrange(1, 4)):
        world.edit(image=f"v{rng.randrange(number + 2)}")
        for _ in range(rng.randrange(25)):
            _shake(world, rng)
            before = _Sight(world)
            world.step()
            _check(world, before)
        if rng.random() < 0.3:
            world.edit(zone=rng.choice(["near", "far"]))
    _finish(world)
    wanted = sorted(name for name, node in world.nodes.items() if fit(world.target, node).start)
    assert sorted(pod.spec.node_name for pod in world.pods) == wanted
    assert all(told(pod) == f"{world.image} ready" for pod in world.pods)
    status = world.target.status
    assert status.number_available == status.updated_number_scheduled == status.desired_number_scheduled == len(wanted)
    assert status.number_unavailable == status.number_misscheduled == 0


class _Sight:
    """``served`` are the nodes that should have a pod and have one that is ready, ``pairs`` those that have two."""

    def __init__(self, world: World) -> None:
        self.wanted = {name for name, found in world.nodes.items() if fit(world.target, found).start}
        self.served = {pod.spec.node_name for pod in world.on() if is_ready(pod)} & self.wanted
        self.pairs = {name for name in world.nodes if len(world.on(name)) == 2}
        self.most = max((len(world.on(name)) for name in world.nodes), default=0)


def _check(world: World, before: _Sight) -> None:
    """No node has too many pods; no more of them are without a ready one by a step's own hand than may be; no surge goes too far."""
    after = _Sight(world)
    allowed = limits(world.target, len(after.wanted))
    assert after.most <= (2 if allowed.surge else 1)
    spare = 0 if allowed.surge else max(allowed.unavailable - len(before.wanted - before.served), 0)
    assert len(before.served - after.served) <= spare, f"{before.served} became {after.served}"
    # A node whose old pod serves no more gets a new one at once; that is no surge.
    surged = (after.pairs - before.pairs) & before.served
    assert not surged or len((after.pairs & before.pairs) | surged) <= allowed.surge, f"{before.pairs} became {after.pairs}"


def _shake(world: World, rng: random.Random) -> None:
    """Pods become ready, fail or stop being ready."""
    for pod in world.on():
        chance = rng.random()
        if chance < 0.05 and not is_ready(pod):
            pod.status.phase = "Failed"
        elif pod.status.phase == "Running":
            world.mark([pod], chance < (0.9 if is_ready(pod) else 0.4))
    world.now += timedelta(seconds=rng.choice([0, 1, 60]))


def _finish(world: World) -> None:
    for _ in range(60):
        world.mark([pod for pod in world.on() if pod.status.phase == "Running"], True)
        world.now += timedelta(hours=1)
        if not world.settle() and all(is_ready(pod) for pod in world.on()):
            return
    raise AssertionError("it does not end")
