"""Whatever fails, hangs, dies or is killed on a pod's way: it comes to be as it should, once, and nothing of it is left in the end.

The ordinary run takes some of the rows by a seed. With ``KNARR_FAULTS=singles`` each step goes wrong in every way, with
``KNARR_FAULTS=pairs`` every two steps of a pod's life do: that takes hours.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.kubelet.worker import fault_world
from tests.kubelet.worker.fault_engine import Kind
from tests.kubelet.worker.fault_scenarios import SCENARIOS
from tests.kubelet.worker.fault_world import Row, World, live

WHICH = os.environ.get("KNARR_FAULTS", "")
SEED, SINGLES, PAIRS = 1, 5, 7
MOST_FAILURES = 20

# Rows that were found to go wrong.
FOUND: list[tuple[str, Row]] = [
    # An image laid as a volume stayed for ever once the kubelet that had laid it was killed.
    ("web", {"start app": Kind.KILLED_AFTER}),
    ("web", {"create app": Kind.FORGOTTEN}),
    ("web", {"file _lay": Kind.FORGOTTEN}),
    # A disk that took no change for a moment kept it, too; and what a killed kubelet left, beside an image.
    ("web", {"file _sweep": Kind.REFUSED}),
    ("web", {"remove_sandbox": Kind.FORGOTTEN, "file remove": Kind.REFUSED}),
    ("web", {"remove setup": Kind.KILLED_AFTER, "file left_behind": Kind.REFUSED}),
    # A container whose start was not answered ran once more after it had ended.
    ("web", {"start setup": Kind.UNSEEN}),
    ("never", {"start setup": Kind.UNSEEN}),
    # A sandbox that was made after its call had been given up stayed beside the pod's own.
    ("web", {"create_sandbox": Kind.LATE, "image proxy:1": Kind.BREAKS}),
    # A container that was made and not started when its sandbox died was started in the next one, and the pod waited for it for ever.
    ("hollow", {"create proxy": Kind.BREAKS, "start proxy": Kind.KILLED}),
    ("static", {"create proxy": Kind.BREAKS, "start proxy": Kind.CUT}),
    # What a kubelet had laid for containers that see no files stayed once it was killed.
    ("hollow", {"remove_sandbox": Kind.KILLED_AFTER}),
    # A pod that never starts again failed for a postStart hook that the engine was not asked to run.
    ("never", {"postStart app": Kind.CUT}),
    ("never", {"postStart app": Kind.UNTOLD}),
    ("web", {"postStart app": Kind.HANGS}),
    # A start that came true after the pod's next sandbox was there left a sidecar in the old one for ever.
    ("hollow", {"start proxy": Kind.BREAKS, 14: Kind.BREAKS}),
    # A kubelet that was killed while a start was unanswered: the next one asks for it just while that comes true.
    ("shutdown", {"start setup": Kind.LATE, 8: Kind.KILLED}),
    # An engine that came to keep an image when its pod was gone kept it until the next one went.
    ("shown", {"show_image": Kind.LATE, 26: Kind.FORCED}),
    # A kubelet whose first try to make the groups above the pods' failed had none for as long as it ran, and left those of its pods.
    ("web", {"start app": Kind.KILLED_AFTER, 32: Kind.REFUSED}),
    ("web", {"create_sandbox": Kind.KILLED, 8: Kind.REFUSED}),
]


def lived(scenario: str, row: Row) -> World:
    with TemporaryDirectory() as folder:
        return live(Path(folder) / "node", SCENARIOS[scenario], row)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_life_without_faults(scenario: str) -> None:
    world = lived(scenario, {})
    assert world.steps and not world.struck
    assert world.engine.ended["app"] == (2 if scenario == "anew" else 1)


@pytest.mark.parametrize(("scenario", "row"), FOUND, ids=[f"{name}: {row}" for name, row in FOUND])
def test_what_was_found(scenario: str, row: Row) -> None:
    assert lived(scenario, row).struck == list(row.values())


def test_a_pod_that_began_without_a_control_group_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kubelet could not make those above it at first, and tries again after a minute."""
    monkeypatch.setattr(fault_world, "CALM_SECONDS", 90.0)
    world = lived("web", {"file set_up": Kind.KILLED, "file make": Kind.REFUSED})
    # That it has one while it is as it should be, the world looks for itself.
    assert world.struck == [Kind.KILLED, Kind.REFUSED] and world.kubelet is not None and world.kubelet.context.groups.there
    again = world.steps.index("file make", world.steps.index("file make") + 1)
    assert world.steps.index("start app") < again < world.steps.index("preStop app")


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.CUT, Kind.HANGS])
def test_a_stop_that_is_tried_again_runs_its_hook_once(kind: Kind) -> None:
    world = lived("web", {"stop app": kind})
    assert (world.steps.count("preStop app"), world.steps.count("stop app")) == (1, 2)


@pytest.mark.timeout(0 if WHICH else 120)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_step_goes_wrong(scenario: str) -> None:
    steps = len(lived(scenario, {}).steps)
    rows: list[Row] = [{step: kind} for kind in Kind for step in range(steps)]
    _try(scenario, rows if WHICH else _some(rows, SINGLES, scenario))


@pytest.mark.timeout(0 if WHICH else 120)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_steps_go_wrong(scenario: str) -> None:
    """The second among those that the first leads to."""
    if WHICH == "pairs":
        _try(scenario, _pairs(scenario))
        return
    steps, chance = len(lived(scenario, {}).steps), random.Random(f"{SEED} {scenario} pairs")
    rows: list[Row] = []
    for _ in range(PAIRS):
        first = chance.randrange(steps)
        rows.append({first: chance.choice(list(Kind)), first + chance.randint(1, 12): chance.choice(list(Kind))})
    _try(scenario, rows)


def _some(rows: list[Row], count: int, scenario: str) -> list[Row]:
    return random.Random(f"{SEED} {scenario}").sample(rows, count)


def _pairs(scenario: str) -> Iterator[Row]:
    for first in range(len(lived(scenario, {}).steps)):
        for kind in Kind:
            for second in range(first + 1, len(lived(scenario, {first: kind}).steps)):
                for other in Kind:
                    yield {first: kind, second: other}


def _try(scenario: str, rows: Iterator[Row] | list[Row]) -> None:
    """Tells of all rows that fail, not of the first alone."""
    failed: list[str] = []
    for row in rows:
        try:
            lived(scenario, row)
        except AssertionError as error:
            failed.append(f"{row}: {str(error)[:300]}")
            if len(failed) == MOST_FAILURES:
                break
    assert not failed, "\n".join(failed)
