"""Every controller comes to the same end, whatever befalls it: a crash at each write, each event lost, a server that is behind, a
second leader."""

from __future__ import annotations

import pytest

from services.controller.catalog import CONTROLLERS
from services.controller.controller import Controller
from tests.controller.scenarios.catalog import SCENARIOS
from tests.support.mishaps import Kind, play, wrongs

# Hundreds of runs of milliseconds, which a busy machine makes long.
pytestmark = [pytest.mark.timeout(300), pytest.mark.spread]


def test_every_controller_has_a_scenario() -> None:
    assert set(SCENARIOS) == set(CONTROLLERS)


@pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda found: found.name)
def test_a_scenario_gives_its_controller_something_to_do(controller: type[Controller]) -> None:
    clean = play(SCENARIOS[controller])
    assert clean.writes and clean.events and clean.made and clean.final
    assert clean.differences(play(SCENARIOS[controller])) == []


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.NONE])
@pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda found: found.name)
def test_it_comes_to_the_same_end(controller: type[Controller], kind: Kind) -> None:
    assert wrongs(SCENARIOS[controller], kind) == []
