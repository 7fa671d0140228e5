"""Rollouts step by step: golden scenarios, and random ones that must never break their limits.

A scenario file holds commands, each followed by ``----`` and what came of it:

- ``deploy key=value …`` changes the Deployment; ``ready image=count …`` makes pods ready;
  ``wait seconds`` lets time pass; ``linger true|false`` says whether old pods still terminate.

``pytest --rewrite tests/controller/test_rollouts.py`` writes what happens now into the files; read the difference before you
commit it.
"""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from knarr.objects.conditions import get_condition
from services.controller.controllers.deployment.scaling import available, shrink_old
from tests.controller.objects import condition_of, deployment, replica_set
from tests.controller.rollout import World, check_step, random_amount
from tests.controller.stepped import play
from tests.support import golden

SCENARIOS = sorted((Path(__file__).parent / "rollouts").glob("*.txt"))


def command(world: World, line: str) -> None:
    verb, *words = line.split()
    pairs = dict(word.split("=") for word in words if "=" in word)
    match verb:
        case "deploy":
            world.edit(**pairs)
        case "ready":
            for image, count in pairs.items():
                world.make_ready(image, int(count))
            world.observe()
        case "wait":
            world.now += timedelta(seconds=float(words[0]))
        case "linger":
            world.old_pods_linger = words[0] == "true"
        case _:
            raise ValueError(line)


def told(world: World, steps: list[str]) -> list[str]:
    status = world.target.status
    pods = ", ".join(f"{world.image_of(rs)} {len(world.pods[name])}" for name, rs in world.sets.items() if world.pods[name])
    counts = f"updated {status.updated_replicas} of {status.replicas}, available {status.available_replicas}"
    conditions = [
        f"{kind}={found.status} {found.reason}" for kind in ("Available", "Progressing") if (found := get_condition(status, kind))
    ]
    return [*(f"  {step}" for step in steps), f"  pods: {pods or 'none'}; {counts}", *(f"  {entry}" for entry in conditions)]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    golden.check(path, play(path.read_text(), World(), command, told))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
@example(seed=13115)  # emptied and filled again before it reported
def test_a_rollout_never_leaves_its_limits_and_ends(seed: int) -> None:
    rng = random.Random(seed)
    world = World()
    world.edit(replicas=str(rng.randrange(1, 15)), surge=random_amount(rng), unavailable=random_amount(rng), image="v0")
    world.settle()
    world.make_ready("v0", world.target.spec.replicas)
    world.observe()
    world.settle()
    for number in range(rng.randrange(1, 4)):
        world.edit(image=f"v{rng.randrange(number + 2)}")
        for _ in range(rng.randrange(25)):
            _shake(world, rng)
            reported = world.reported
            world.step()
            check_step(world, reported)
    for _ in range(20):
        for pods in world.pods.values():
            pods[:] = [True] * len(pods)
        world.observe()
        world.settle()
    assert condition_of(world.target.status, "Progressing").reason == "NewReplicaSetAvailable"
    assert world.total == world.available == world.target.spec.replicas
    wanted = world.target.spec.template.spec.containers[0].image
    assert len(world.pods[world.named(wanted).metadata.name]) == world.total


def test_a_set_that_was_emptied_and_filled_again_counts_when_it_has_reported() -> None:
    """Else the pods that it had before would be counted, and those of the other sets spared for them."""
    target = deployment(replicas=4, surge=0, unavailable=1)
    new, old = replica_set("new", 1), replica_set("old", 3)
    new.status.available_replicas, old.status.available_replicas = 1, 3
    new.metadata.generation, new.status.observed_generation = 3, 1
    shrink_old(target, new, [old], available([new, old]))
    assert old.spec.replicas == 3
    new.status.observed_generation = 3
    shrink_old(target, new, [old], available([new, old]))
    assert old.spec.replicas == 2


def test_a_size_that_came_about_otherwise_is_noted_and_holds_up_no_rollout() -> None:
    """Else the Deployment would be taken for one whose size has just changed, and no template looked at any more."""
    world = World()
    world.edit(image="v1", replicas="5")
    world.settle()
    first = world.named("v1")
    first.spec.replicas = 3
    world.edit(image="v2", replicas="3")
    world.settle()
    assert world.named("v2").spec.replicas > 0


@pytest.mark.parametrize("change", [{"paused": "true"}, {"replicas": "4"}])
def test_how_long_pods_must_be_ready_is_known_to_them_in_a_pause_too(change: dict[str, str]) -> None:
    world = World()
    world.edit(image="v1", replicas="2")
    world.settle()
    world.target.spec.min_ready_seconds = 30
    world.edit(**change)
    world.step()
    assert world.named("v1").spec.min_ready_seconds == 30


def _shake(world: World, rng: random.Random) -> None:
    """Pods become ready or fail; a fall is reported at once, other reports may be late."""
    for name, pods in world.pods.items():
        before = list(pods)
        pods[:] = [rng.random() < 0.9 if ready else rng.random() < 0.4 for ready in pods]
        fell = any(was and not ready for was, ready in zip(before, pods, strict=True))
        if fell or rng.random() < 0.7:
            world.observe(name)
