"""How fast nodes that are not ready lose their pods, by how their zone and the cluster are."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.objects.labels import BETA_REGION, BETA_ZONE, REGION, ZONE
from services.controller.controllers.nodelifecycle.decide import EXCLUDED, standing, taints
from services.controller.controllers.nodelifecycle.turns import Turns
from services.controller.controllers.nodelifecycle.words import News
from services.controller.controllers.nodelifecycle.zones import Count, Standing, Zone, Zones, ZoneState, rate_of, state_of
from services.controller.settings import EvictionRates
from tests.controller.objects import node

RATES = EvictionRates()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
A, B = Zone("r", "a"), Zone("r", "b")


def one(zone: Zone = A, ready: str = "True", *, counts: bool = True, tainted: bool = False) -> Standing:
    return Standing(zone, ready == "True", counts, ready in ("False", "Unknown"), tainted)


@pytest.mark.parametrize(
    ("ready", "not_ready", "state"),
    [
        (0, 0, ZoneState.NORMAL),
        (0, 1, ZoneState.FULL_DISRUPTION),
        (1, 0, ZoneState.NORMAL),
        # Two are too few to be called a disruption, whatever their share.
        (1, 2, ZoneState.NORMAL),
        (1, 3, ZoneState.PARTIAL_DISRUPTION),
        (9, 11, ZoneState.PARTIAL_DISRUPTION),
        (10, 11, ZoneState.NORMAL),
    ],
)
def test_the_state_of_a_zone_is_that_of_its_nodes(ready: int, not_ready: int, state: ZoneState) -> None:
    assert state_of(Count(ready, not_ready), RATES) is state


@pytest.mark.parametrize(
    ("state", "size", "per_second"),
    [
        (ZoneState.NORMAL, 3, 0.1),
        (ZoneState.FULL_DISRUPTION, 3, 0.1),
        (ZoneState.PARTIAL_DISRUPTION, 50, 0.0),
        (ZoneState.PARTIAL_DISRUPTION, 51, 0.01),
    ],
)
def test_a_disrupted_zone_loses_pods_more_slowly_and_a_small_one_none(state: ZoneState, size: int, per_second: float) -> None:
    assert rate_of(state, size, RATES) == per_second


def test_a_node_says_where_it_is_by_labels_of_which_the_older_ones_count() -> None:
    target = node(ready="Unknown")
    assert standing(target) == Standing(Zone("", ""), ready=False, counts=True, fails=True, tainted=False)
    target.metadata.labels.update({REGION: "r", ZONE: "a"})
    assert standing(target).zone == A
    target.metadata.labels.update({BETA_REGION: "old", BETA_ZONE: "", EXCLUDED: ""})
    assert standing(target).zone == Zone("old", "") and not standing(target).counts
    target.spec.taints.extend(taints(target, NOW, executes=True))
    assert standing(target).tainted and not standing(target).waits
    del target.status.conditions[:]
    # Nothing is known of it yet: it is not ready, and nobody is to leave it.
    assert not standing(target).ready and not standing(target).fails


def test_turns_are_taken_in_order_and_kept_until_they_are_used() -> None:
    woken: list[str] = []
    turns = Turns(0.1, 0.0, woken.append)
    assert [turns.wait_seconds(name, 0.0) for name in "abc"] == [0.0, 10.0, math.inf]
    # A write that failed is tried again, and costs nobody else a turn.
    assert turns.wait_seconds("a", 3.0) == 0.0 and turns.wait_seconds("b", 4.0) == pytest.approx(6.0)
    turns.leave("b")
    assert woken == ["c"]
    assert turns.wait_seconds("c", 9.0) == pytest.approx(1.0) and turns.wait_seconds("d", 9.0) == math.inf
    assert turns.wait_seconds("c", 10.0) == 0.0 and woken == ["c", "d"]
    # Whoever left waits again at the end.
    turns.leave("a")
    assert turns.wait_seconds("d", 10.0) == pytest.approx(10.0) and turns.wait_seconds("a", 20.0) == math.inf


def test_another_rate_keeps_a_turn_that_is_free_and_none_that_is_coming() -> None:
    free, coming = Turns(0.1, 0.0, lambda name: None), Turns(0.1, 0.0, lambda name: None)
    assert coming.wait_seconds("a", 0.0) == 0.0
    for turns in (free, coming):
        turns.set_rate(0.01, 9.0)
    assert free.wait_seconds("b", 9.0) == 0.0 and coming.wait_seconds("b", 9.0) == pytest.approx(100.0)
    free.leave("b")
    for per_second in (0.0, 0.1):
        free.set_rate(per_second, 500.0)
    assert free.wait_seconds("c", 500.0) == pytest.approx(10.0)


def test_a_list_of_nodes_is_one_look_however_it_is_heard() -> None:
    woken: list[str] = []
    zones = Zones(RATES, woken.append)
    for number in range(10):
        zones.note(f"node-{number}", one(ready="Unknown" if number < 4 else "True"), 0.0)
    settled = zones.settle(0.0)
    assert [(change.before, change.after) for change in settled.changes] == [(ZoneState.INITIAL, ZoneState.NORMAL)]
    assert settled.stopped is None and settled.first and not woken
    assert not zones.settle(0.0).first


def test_what_becomes_of_nodes_that_start_is_no_news_and_of_those_that_fail_it_is() -> None:
    zones, news = Zones(RATES, lambda name: None), News()

    def told(*noted: tuple[str, Standing | None]) -> list[str]:
        for name, found in noted:
            zones.note(name, found, 0.0)
        return [found.reason for found in news.of(zones.settle(0.0), zones.all)]

    assert told(("1", one(ready="False"))) == []
    assert told(("1", one())) == []
    # More of them come than are ready.
    assert told(*[(str(number), one(ready="")) for number in range(2, 6)]) == []
    assert told(*[(str(number), one()) for number in range(2, 6)]) == []
    assert told(*[(str(number), one(ready="Unknown")) for number in range(1, 4)]) == ["ZonePartialDisruption"]
    assert told(("b1", one(B))) == []
    assert told(*[(str(number), one(ready="Unknown")) for number in range(4, 6)]) == ["ZoneFullDisruption"]
    assert told(("b1", one(B, ready="False"))) == ["EvictionsStopped"]
    assert told(("1", one())) == ["EvictionsResumed"]
    assert told(*[(str(number), one()) for number in range(2, 6)]) == ["ZoneNormal"]
    # The other one goes without having come back.
    assert told(("b1", None)) == []
    assert told(("b1", one(B))) == []


@dataclass
class Oracle:
    """The rule, slowly: all nodes are counted anew at each look."""

    nodes: dict[str, Standing] = field(default_factory=dict)
    # By zone: when the next turn is free at the earliest, and at which rate.
    free: dict[Zone, tuple[float, float]] = field(default_factory=dict)
    queues: dict[Zone, list[str]] = field(default_factory=dict)
    # By node, the zone in which it has its turn.
    given: dict[str, Zone] = field(default_factory=dict)

    def stopped(self) -> bool:
        counted = [found for found in self.nodes.values() if found.counts]
        return bool(counted) and not any(found.ready for found in counted)

    def rate(self, zone: Zone) -> float:
        if self.stopped():
            return 0.0
        ready = Counter(found.ready for found in self.nodes.values() if found.zone == zone and found.counts)
        size = ready.total()
        if ready[True] and ready[False] > 2 and ready[False] * 100 >= 55 * size:
            return 0.01 if size > 3 else 0.0
        return 0.1

    def look(self, now: float) -> None:
        zones = {found.zone for found in self.nodes.values()}
        self.free = {zone: self.free.get(zone, (0.0, 0.1)) for zone in zones}
        waiting = {name for name, found in self.nodes.items() if found.waits} if not self.stopped() else set()
        self.given = {name: zone for name, zone in self.given.items() if name in waiting and self.nodes[name].zone == zone}
        self.queues = {
            zone: [name for name in self.queues.get(zone, []) if name in waiting and self.nodes[name].zone == zone] for zone in zones
        }
        for zone, (at, before) in self.free.items():
            rate = self.rate(zone)
            if rate != before:
                self.free[zone] = (at if rate and before and at <= now else now + 1 / rate if rate else math.inf, rate)

    def may(self, name: str, now: float) -> bool:
        found = self.nodes.get(name)
        if found is None or self.stopped():
            return False
        if not found.waits or name in self.given:
            return True
        queue = self.queues[found.zone]
        if name not in queue:
            queue.append(name)
        at, rate = self.free[found.zone]
        if queue[0] != name or at > now:
            return False
        queue.pop(0)
        self.given[name] = found.zone
        self.free[found.zone] = (now + 1 / rate, rate)
        return True


NAMES = [f"node-{number}" for number in range(7)]
STANDINGS = st.builds(
    one,
    st.sampled_from([A, A, A, B]),
    st.sampled_from(["True", "False", "Unknown", "False", "Unknown", ""]),
    counts=st.sampled_from([True, True, True, False]),
    tainted=st.sampled_from([False, False, True]),
)
STEPS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(NAMES), st.none() | STANDINGS | STANDINGS | STANDINGS, max_size=7),
        st.sampled_from([0, 1, 5, 10, 100]),
        st.permutations(NAMES),
    ),
    max_size=12,
)


@given(STEPS)
@settings(max_examples=500)
def test_zones_decide_as_a_slow_oracle_does(steps: list[tuple[dict[str, Standing | None], int, list[str]]]) -> None:
    now, oracle = 0.0, Oracle()
    woken: set[str] = set()
    zones = Zones(EvictionRates(large_zone=3), woken.add)
    for changes, seconds, asked in steps:
        now += seconds
        stopped = oracle.stopped()
        for name, found in changes.items():
            zones.note(name, found, now)
            oracle.nodes.pop(name, None)
            if found is not None:
                oracle.nodes[name] = found
        oracle.look(now)
        settled = zones.settle(now)
        assert (settled.stopped is not None) == (stopped != oracle.stopped())
        if settled.stopped is not None:
            assert woken >= set(oracle.nodes)
        for name in asked:
            assert (zones.wait_seconds(name, now) == 0) == oracle.may(name, now), name
