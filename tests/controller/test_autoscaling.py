"""The arithmetic of autoscaling: Kubernetes' documented examples, and what must hold whatever is measured."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from services.apiserver.strategies.horizontalpodautoscaler import HorizontalPodAutoscalerStrategy
from services.controller.controllers.horizontalpodautoscaler import behavior, replicas
from services.controller.controllers.horizontalpodautoscaler.behavior import At, History
from services.controller.controllers.horizontalpodautoscaler.decide import (
    ACTIVE,
    TO_ZERO,
    Choice,
    Plan,
    Said,
    choose,
    decide,
    settled,
    tolerance,
)
from services.controller.controllers.horizontalpodautoscaler.proposals import Failure, Proposal
from services.controller.controllers.horizontalpodautoscaler.replicas import Count, Tolerance
from services.controller.controllers.horizontalpodautoscaler.samples import Groups, Pace, Sample, Samples, Unmeasured, grouped, requests
from tests.controller.autoscalers import autoscaler, cpu, metric
from tests.controller.objects import pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENTH = Tolerance(0.1, 0.1)
PACE = Pace()
OLD = History([At(NOW - timedelta(hours=2), 0)])
VALID = Said(ACTIVE, True, "ValidMetricFound", "")


def samples(*values: int) -> Samples:
    return {f"p{number}": Sample(value) for number, value in enumerate(values)}


def groups(ready: int, *, missing: int = 0, unready: int = 0) -> Groups:
    return Groups(ready, {f"u{number}" for number in range(unready)}, {f"m{number}" for number in range(missing)})


def asked(count: int, each: int = 1000) -> dict[str, int]:
    """What pods ask for, whatever they are called."""
    return {f"{letter}{number}": each for letter in "pmu" for number in range(count)}


# Of 1000 millicores that each asks for: how much each uses, and what comes of a target in percent.
UTILIZATIONS: dict[str, tuple[int, int, Samples, Groups, Count]] = {
    # The documentation: 200m where 100m are wanted doubles, 50m halves.
    "twice the target": (1, 50, samples(1000), groups(1), Count(2, 1000, 100)),
    "half the target": (2, 50, samples(250, 250), groups(2), Count(1, 250, 25)),
    "at the target": (3, 50, samples(500, 500, 500), groups(3), Count(3, 500, 50)),
    "within a tenth": (3, 50, samples(540, 550, 550), groups(3), Count(3, 546, 54)),
    "above a tenth": (3, 50, samples(560, 560, 560), groups(3), Count(4, 560, 56)),
    "rounded up": (3, 30, samples(300, 500, 700), groups(3), Count(5, 500, 50)),
    # One that is not measured uses nothing when pods are to be added …
    "missing, going up": (3, 30, samples(600, 600), groups(2, missing=1), Count(4, 600, 60)),
    "missing, nearly nothing to do": (4, 50, samples(650, 650, 700), groups(3, missing=1), Count(4, 666, 66)),
    # … and all that it asks for when some are to go.
    "missing, going down": (3, 100, samples(300, 300), groups(2, missing=1), Count(2, 300, 30)),
    "missing, which keeps all": (2, 50, samples(100), groups(1, missing=1), Count(2, 100, 10)),
    # Those that start are idle when pods are to be added, and do not count else.
    "starting, going up": (3, 30, samples(600, 600), groups(2, unready=1), Count(4, 600, 60)),
    "starting, which is enough": (3, 50, samples(700), groups(1, unready=2), Count(3, 700, 70)),
    "starting, going down": (3, 50, samples(200, 200), groups(2, unready=1), Count(1, 200, 20)),
    "at the target, one missing": (4, 50, samples(500, 500, 500), groups(3, missing=1), Count(4, 500, 50)),
}


@pytest.mark.parametrize("case", UTILIZATIONS.values(), ids=list(UTILIZATIONS))
def test_by_utilization(case: tuple[int, int, Samples, Groups, Count]) -> None:
    current, target, measured, which, wanted = case
    assert replicas.by_utilization(current, target, measured, which, asked(10), TENTH) == wanted


def test_what_is_still_measured_of_a_pod_that_is_gone_is_no_part_of_the_average() -> None:
    measured = samples(600, 600) | {"gone": Sample(100)}
    assert replicas.by_utilization(2, 60, measured, groups(2), asked(2), TENTH) == Count(2, 600, 60)


AVERAGES: dict[str, tuple[int, int, Samples, Groups, Count]] = {
    "twice the target": (2, 10, samples(20, 20), groups(2), Count(4, 20)),
    "missing, going up": (3, 10, samples(20, 20), groups(2, missing=1), Count(4, 20)),
    "missing, going down": (3, 10, samples(2, 2), groups(2, missing=1), Count(2, 2)),
    "at the target, one missing": (3, 10, samples(10, 10), groups(2, missing=1), Count(3, 10)),
    "starting, going up": (2, 10, samples(40), groups(1, unready=1), Count(4, 40)),
}


@pytest.mark.parametrize("case", AVERAGES.values(), ids=list(AVERAGES))
def test_by_average(case: tuple[int, int, Samples, Groups, Count]) -> None:
    current, target, measured, which, wanted = case
    assert replicas.by_average(current, target, measured, which, TENTH) == wanted


def test_totals() -> None:
    assert replicas.by_total(3, 100, 200, 3, TENTH) == Count(6, 200)
    # Only those that are ready bear it.
    assert replicas.by_total(3, 100, 200, 2, TENTH) == Count(4, 200)
    assert replicas.by_total(3, 100, 105, 0, TENTH) == Count(3, 105)
    assert replicas.by_total(0, 100, 250, 0, TENTH) == Count(3, 250)
    assert replicas.by_total(0, 100, 0, 0, TENTH) == Count(0, 0)
    assert replicas.by_total_per_pod(2, 30, 120, TENTH) == Count(4, 60)
    assert replicas.by_total_per_pod(4, 30, 125, TENTH) == Count(4, 32)
    assert replicas.by_total_per_pod(0, 30, 100, TENTH) == Count(4, 100)
    assert replicas.by_total_per_pod(0, 30, 0, TENTH) == Count(0, 0)
    assert replicas.by_total(1, 1, 2**62, 2**31 - 1, TENTH).replicas == replicas.MOST_PODS


def test_nothing_measured_is_told() -> None:
    with pytest.raises(Unmeasured, match="did not receive metrics for targeted pods"):
        replicas.by_utilization(1, 50, {"u0": Sample(5)}, groups(0, unready=1), asked(1), TENTH)
    with pytest.raises(Unmeasured, match="matched known pods"):
        replicas.by_utilization(1, 50, {"stranger": Sample(5)}, groups(1), asked(1), TENTH)
    with pytest.raises(Unmeasured, match="missing request for cpu in container app of Pod a"):
        requests([pod("a")], "cpu")


def measured_pod(name: str, *, phase: str = "Running", ready: bool = True, started: float = 1000, changed: float = 900) -> core.Pod:
    """``started`` and ``changed``: seconds ago."""
    made = pod(name, phase=phase, ready=ready)
    made.status.start_time.CopyFrom(to_time(NOW - timedelta(seconds=started)))
    made.status.conditions[0].last_transition_time.CopyFrom(to_time(NOW - timedelta(seconds=changed)))
    return made


def test_which_pods_count() -> None:
    going, bare = measured_pod("going"), measured_pod("bare")
    going.metadata.deletion_timestamp.seconds = 1
    del bare.status.conditions[:]
    pods = [
        measured_pod("old"),
        measured_pod("pending", phase="Pending"),
        measured_pod("failed", phase="Failed"),
        measured_pod("unmeasured"),
        going,
        bare,
        # Within its first five minutes: not ready, or ready for less than what was measured.
        measured_pod("young", ready=False, started=200, changed=190),
        measured_pod("fresh", started=200, changed=20),
        measured_pod("settled", started=200, changed=60),
        # Later: never ready, or ready once.
        measured_pod("never-ready", ready=False, started=1000, changed=990),
        measured_pod("no-longer-ready", ready=False, started=1000, changed=100),
    ]
    taken = {made.metadata.name: Sample(1, NOW, 30.0) for made in pods if made.metadata.name != "unmeasured"}
    found = grouped(pods, taken, "cpu", PACE, NOW)
    assert found.ready == 3
    assert found.unready == {"pending", "bare", "young", "fresh", "never-ready"}
    assert (found.missing, found.leaving) == ({"unmeasured"}, {"failed", "going"})
    # Of other metrics all that are measured count.
    assert grouped(pods, taken, "memory", PACE, NOW).unready == {"pending"}


def plan(
    current: int,
    desired: int,
    *,
    least: int = 1,
    most: int = 100,
    rules: dict[str, Any] | None = None,
    history: History | None = None,
    now: datetime = NOW,
) -> Plan:
    subject = autoscaler(cpu(50), least=least, most=most, behavior=rules)
    HorizontalPodAutoscalerStrategy().default(subject)
    return decide(subject, current, Choice(desired, "cpu resource", VALID), history or OLD, now, 300.0)


def reasons(found: Plan) -> dict[str, str]:
    return {said.type: said.reason for said in found.said}


def policies(*found: tuple[str, int, int], select: str = "Max", window: int = 0) -> dict[str, Any]:
    return {
        "selectPolicy": select,
        "stabilizationWindowSeconds": window,
        "policies": [{"type": kind, "value": value, "periodSeconds": period} for kind, value, period in found],
    }


def test_without_policies_it_doubles_at_most() -> None:
    assert plan(1, 50).replicas == 4
    assert plan(10, 50).replicas == 20
    assert reasons(plan(10, 50))["ScalingLimited"] == "ScaleUpLimit"
    assert plan(10, 15).replicas == 15
    assert reasons(plan(10, 15))["ScalingLimited"] == "DesiredWithinRange"
    assert (plan(10, 50, most=12).replicas, reasons(plan(10, 50, most=12))["ScalingLimited"]) == (12, "TooManyReplicas")
    assert (plan(10, 1, least=3).replicas, reasons(plan(10, 1, least=3))["ScalingLimited"]) == (3, "TooFewReplicas")


def test_the_highest_of_five_minutes_holds() -> None:
    history = History([At(NOW - timedelta(seconds=400), 20), At(NOW - timedelta(seconds=200), 8)])
    found = plan(10, 2, history=history)
    assert (found.replicas, reasons(found)["AbleToScale"]) == (8, "ScaleDownStabilized")
    assert [one.replicas for one in found.history.recommended] == [8, 2]
    assert plan(10, 2, history=history, now=NOW + timedelta(seconds=101)).replicas == 2


def test_the_documented_policies() -> None:
    """Four pods or a tenth of them a minute: with 80 pods eight go, with 72 eight (7.2 rounded), with 40 four."""
    down = {"scaleDown": policies(("Pods", 4, 60), ("Percent", 10, 60))}
    assert [plan(count, 1, rules=down).replicas for count in (80, 72, 40, 10)] == [72, 64, 36, 6]
    assert reasons(plan(80, 1, rules=down))["ScalingLimited"] == "ScaleDownLimit"
    slow = {"scaleDown": policies(("Pods", 5, 60), ("Percent", 10, 60), select="Min")}
    assert [plan(count, 1, rules=slow).replicas for count in (80, 40)] == [75, 36]
    never = {"scaleDown": policies(("Pods", 5, 60), select="Disabled")}
    assert plan(80, 1, rules=never).replicas == 80
    # By default 100 % or four pods, whichever is more, every 15 seconds.
    assert [plan(count, 100, rules={"scaleDown": policies(("Pods", 1, 60))}).replicas for count in (1, 3, 10)] == [5, 7, 20]


def test_what_was_done_within_the_period_counts() -> None:
    rules = {"scaleUp": policies(("Pods", 4, 60))}
    subject = autoscaler(cpu(50), behavior=rules)
    HorizontalPodAutoscalerStrategy().default(subject)
    history = History([At(NOW, 10)]).scaled(10, 13, NOW - timedelta(seconds=30), subject.spec.behavior)
    assert plan(13, 50, rules=rules, history=history).replicas == 14
    # What was taken away meanwhile may come back beside.
    history = history.scaled(13, 11, NOW - timedelta(seconds=10), subject.spec.behavior)
    assert plan(11, 50, rules=rules, history=history).replicas == 14
    assert plan(11, 50, rules=rules, history=history, now=NOW + timedelta(seconds=31)).replicas == 17
    assert plan(11, 50, rules=rules, history=history, now=NOW + timedelta(seconds=61)).replicas == 15


def test_the_lowest_of_the_time_for_going_up_holds() -> None:
    history = History([At(NOW - timedelta(seconds=30), 12)])
    found = plan(10, 20, rules={"scaleUp": policies(("Pods", 50, 15), window=60)}, history=history)
    assert (found.replicas, reasons(found)["AbleToScale"]) == (12, "ScaleUpStabilized")


def test_a_tolerance_of_its_own() -> None:
    rules = {"scaleUp": {"tolerance": "0.05"}, "scaleDown": {"tolerance": "0.3"}}
    assert tolerance(autoscaler(cpu(50), behavior=rules), 0.1) == Tolerance(0.3, 0.05)
    assert tolerance(autoscaler(cpu(50)), 0.1) == TENTH
    assert Tolerance(0.3, 0.05).holds(0.7) and not Tolerance(0.3, 0.05).holds(1.06)


def proposal(count: int) -> Proposal:
    return Proposal(count, f"metric {count}", autoscaling.MetricStatus())


def test_the_highest_proposal_is_taken() -> None:
    assert choose(3, [proposal(2), proposal(5), proposal(4)]).name == "metric 5"
    failure = Failure("FailedGetPodsMetric", "no", "failed to get pods metric value: no")
    assert choose(3, [proposal(5), failure]).replicas == 5
    held = choose(3, [proposal(2), failure])
    assert held.problem == "invalid metrics (1 invalid out of 2), first error is: failed to get pods metric value: no"
    assert (held.said.value, held.said.reason) == (False, "FailedGetPodsMetric")


def test_who_went_to_zero_may_come_back() -> None:
    depth = metric("external", metric={"name": "depth"}, target={"type": "AverageValue", "averageValue": "10"})
    subject = autoscaler(depth, least=0)
    found = settled(subject, 0, History())
    assert found is not None and found.said[0].reason == "ScalingDisabled"
    subject.status.conditions.add(type=TO_ZERO, status="True")
    assert settled(subject, 0, History()) is None
    # The least was raised meanwhile: what the metric says may be less.
    subject.spec.min_replicas = 3
    assert settled(subject, 0, History()) is None
    assert decide(subject, 0, Choice(1, "depth", VALID), History(), NOW, 300.0).replicas == 3
    by_cpu = autoscaler(cpu(50), least=2)
    by_cpu.status.conditions.add(type=TO_ZERO, status="True")
    found = settled(by_cpu, 0, History())
    assert found is not None and found.replicas == 2


def random_rules(source: random.Random) -> dict[str, Any] | None:
    if source.random() < 0.3:
        return None

    def one() -> dict[str, Any]:
        kinds = [source.choice(("Pods", "Percent")) for _ in range(source.randint(1, 3))]
        some = [(kind, source.randint(1, 120), source.choice((15, 60, 300))) for kind in kinds]
        return policies(*some, select=source.choice(("Max", "Min", "Disabled")), window=source.choice((0, 30, 300)))

    return {name: one() for name in ("scaleUp", "scaleDown") if source.random() < 0.8}


@pytest.mark.parametrize("seed", range(60))
def test_bounds_and_policies_hold_whatever_is_wanted(seed: int) -> None:
    source = random.Random(seed)
    least, most = source.randint(1, 10), source.randint(10, 60)
    rules = random_rules(source)
    subject = autoscaler(cpu(50), least=least, most=most, behavior=rules)
    HorizontalPodAutoscalerStrategy().default(subject)
    current, history, now = source.randint(least, most), History(), NOW
    counts: list[tuple[datetime, int]] = [(now - timedelta(days=1), current)]
    for _ in range(80):
        now += timedelta(seconds=source.choice((1, 15, 40)))
        made = decide(subject, current, Choice(source.randint(0, 90), "x", VALID), history, now, 300.0)
        assert least <= made.replicas <= most
        history = made.history
        if made.replicas != current:
            if subject.spec.HasField("behavior"):
                assert_allowed(subject.spec.behavior, counts, current, made.replicas, now)
                history = history.scaled(current, made.replicas, now, subject.spec.behavior)
            else:
                assert made.replicas <= max(2 * current, 4)
            current = made.replicas
            counts.append((now, current))
        assert len(history.recommended) <= 301


def assert_allowed(rules: Any, counts: Sequence[tuple[datetime, int]], before: int, after: int, now: datetime) -> None:
    """A policy permits the change, counted from how many there were when its period began."""
    chosen = rules.scale_up if after > before else rules.scale_down
    assert chosen.select_policy != "Disabled"
    allowed = []
    for policy in chosen.policies:
        begin = now - timedelta(seconds=policy.period_seconds)
        at_start = [count for time, count in counts if time <= begin][-1]
        share = policy.value if policy.type == behavior.PODS else at_start * policy.value / 100
        # Up, a part of a pod is a pod; down, too.
        allowed.append(at_start + share + 1 > after if after > before else at_start - share - 1 < after)
    assert all(allowed) if chosen.select_policy == "Min" else any(allowed)
