"""Who is ended when a node runs short: golden scenarios, and what holds of every one.

``evictions/<name>.input.yaml`` has a node's flags, its pods and what is left at each step; ``<name>.output.txt`` what is told and done,
which ``pytest --rewrite`` writes anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from knarr.machinery.forms import parse_duration
from knarr.objects.amounts import pod_requests
from services.kubelet.eviction.decide import Decision, Evict, Past, Reclaim, Rules, decide
from services.kubelet.eviction.ranking import ranked
from services.kubelet.eviction.usage import Candidate, ContainerUsage, Observation, PodUsage, Space, Written
from services.kubelet.node.machine import Pressure
from services.kubelet.pod.critical import is_critical
from services.kubelet.resource_flags import add_resource_flags, resource_settings
from services.kubelet.thresholds import IMAGEFS, MEMORY, NODEFS, NODEFS_INODES, PIDS, RESOURCES, Amount, Threshold
from tests.kubelet.support import make_pod
from tests.support import golden

SCENARIOS = Path(__file__).parent / "scenarios"
START = datetime(2030, 1, 1, tzinfo=UTC)


def rules(flags: Mapping[str, str]) -> Rules:
    parser = argparse.ArgumentParser()
    add_resource_flags(parser)
    arguments = parser.parse_args([f"--{name}={text}" for name, text in flags.items()])
    made = resource_settings(arguments)
    return Rules(made["thresholds"], timedelta(seconds=made["pressure_transition_seconds"]), made["eviction_max_pod_grace_seconds"])


def candidate(name: str, told: Mapping[str, Any]) -> Candidate:
    pod = make_pod(name, priority=told.get("priority", 0))
    pod.metadata.uid = name
    pod.metadata.annotations.update(told.get("annotations", {}))
    for resource, text in told.get("requests", {}).items():
        pod.spec.containers[0].resources.requests[resource].string = text

    def amount(key: str) -> int:
        return quantity.value(str(told.get(key, "0")))

    container = ContainerUsage(amount("memory"), Written(Space(amount("disk"), amount("files")), Space(amount("logs"))))
    usage = PodUsage(
        amount("memory"), amount("processes"), {"app": container}, {"data": Space(amount("volumes"))}, told.get("logs on images", False)
    )
    return Candidate(pod, None if told.get("unmeasured") else usage)


def observation(pair: list[Any]) -> Observation:
    return Observation(quantity.value(str(pair[0])), quantity.value(str(pair[1])))


def told(decision: Decision) -> str:
    pressure = decision.pressure
    kinds = [name for name, true in (("memory", pressure.memory), ("disk", pressure.disk), ("processes", pressure.pids)) if true]
    match decision.action:
        case Evict(uid, message, grace, signal):
            done = f"evict {uid} for {signal} within {grace:g} s: {message}"
        case Reclaim(signal):
            done = f"reclaim for {signal}"
        case None:
            done = "nothing to do" if decision.short is None else f"nobody to end for {decision.short.signal}"
    return f"pressure {kinds}, {done}"


@pytest.mark.parametrize("name", sorted(path.name.removesuffix(".input.yaml") for path in SCENARIOS.glob("*.input.yaml")))
def test_scenario(name: str) -> None:
    scenario = yaml.safe_load((SCENARIOS / f"{name}.input.yaml").read_text())
    made, past, apart = rules(scenario["flags"]), Past(), scenario.get("apart", False)
    pods = {name: candidate(name, told) for name, told in scenario["pods"].items()}
    lines = []
    for step in scenario["steps"]:
        now = START + timedelta(microseconds=parse_duration(step["at"]) / 1000)
        pods.pop(step.get("gone"), None)
        signals = {signal: observation(step[signal]) for signal in RESOURCES if signal in step}
        decision = decide(made, signals, list(pods.values()), past, now, apart=apart)
        lines.append(f"{step['at']}: {told(decision)}")
        if isinstance(decision.action, Reclaim):
            signals |= {decision.action.signal: observation(step["after"])} if "after" in step else {}
            decision = decide(made, signals, list(pods.values()), decision.past, now, apart=apart, reclaimed=True)
            lines.append(f"{step['at']}, after that: {told(decision)}")
        past = decision.past
    golden.check(SCENARIOS / f"{name}.output.txt", "\n".join(line.rstrip() for line in lines) + "\n")


usages = st.builds(
    candidate,
    st.uuids().map(str),
    st.fixed_dictionaries(
        {
            "priority": st.sampled_from([-10, 0, 0, 5, 2_000_000_000]),
            "memory": st.integers(0, 1 << 20),
            "processes": st.integers(0, 100),
            "disk": st.integers(0, 1 << 20),
            "unmeasured": st.booleans(),
            "requests": st.dictionaries(st.sampled_from(["memory", "ephemeral-storage"]), st.integers(0, 1 << 20).map(str)),
        }
    ),
)
thresholds = st.builds(
    Threshold,
    st.sampled_from([MEMORY, NODEFS, NODEFS_INODES, IMAGEFS, PIDS]),
    st.builds(Amount, st.integers(1, 100)),
    st.sampled_from([timedelta(), timedelta(seconds=30)]),
    st.builds(Amount, st.integers(0, 50)),
)
observations = st.builds(Observation, st.integers(0, 150), st.just(1000))
looks = st.lists(st.tuples(st.integers(1, 60), st.dictionaries(st.sampled_from([MEMORY, NODEFS, PIDS]), observations)), max_size=8)


@given(st.lists(thresholds, max_size=4, unique_by=lambda found: (found.signal, found.grace)), st.lists(usages, max_size=6), looks)
def test_what_holds_of_every_decision(given_thresholds: list[Threshold], pods: list[Candidate], seen: list[tuple[int, Any]]) -> None:
    made, past, now = Rules(tuple(given_thresholds), timedelta(seconds=100)), Past(), START
    for seconds, signals in seen:
        now += timedelta(seconds=seconds)
        decision = decide(made, signals, pods, past, now)
        below = {t.signal for t in given_thresholds if t.signal in signals and signals[t.signal].available < t.amount.number}
        memory = any(signal == MEMORY for signal in below)
        assert decision.pressure.memory or not memory, "who is short says so"
        assert not decision.pressure.memory or MEMORY in {t.signal for t in given_thresholds}, "of what nobody limits nothing is said"
        if not signals:
            assert decision.short is None, "of what is not seen nothing is concluded"
        for threshold in decision.past.acted_on:
            assert now - decision.past.since[threshold] >= threshold.grace, "nobody is ended before its time"
            observed = signals[threshold.signal]
            assert observed.available < threshold.amount.number + threshold.reclaim.number
        again = decide(made, signals, pods, decision.past, now)
        assert again.action == decision.action, "to look twice changes nothing"
        assert again.pressure == decision.pressure
        if isinstance(decision.action, Evict):
            chosen = next(found for found in pods if found.pod.metadata.uid == decision.action.uid)
            assert not is_critical(chosen.pod)
        elif decision.short is not None and decision.action is None:
            assert all(is_critical(found.pod) for found in pods), "while somebody can be ended, somebody is"
        past = decision.past


@given(st.lists(usages, max_size=8), st.sampled_from([MEMORY, NODEFS, PIDS]))
def test_the_order_is_the_documented_one(pods: list[Candidate], signal: str) -> None:
    order = ranked(pods, signal, apart=False)
    assert sorted(found.pod.metadata.uid for found in order) == sorted(found.pod.metadata.uid for found in pods)

    def over(found: Candidate) -> int:
        assert found.usage is not None
        asked = pod_requests(found.pod)
        used = found.usage.memory_bytes if signal == MEMORY else found.usage.space().bytes
        return used - asked.get("memory" if signal == MEMORY else "ephemeral-storage", 0)

    for one, other in pairwise(order):
        if one.usage is None or other.usage is None:
            assert one.usage is None, "of whom nothing is known comes first"
        elif signal == PIDS:
            first, second = (one.pod.spec.priority, -one.usage.processes), (other.pod.spec.priority, -other.usage.processes)
            assert first <= second
        else:
            first, second = ((over(found) <= 0, found.pod.spec.priority, -over(found)) for found in (one, other))  # type: ignore[assignment]
            assert first <= second


def test_a_condition_stays_for_the_transition_and_no_longer() -> None:
    made = rules({"eviction-hard": "nodefs.available<10%", "eviction-pressure-transition-period": "30s"})
    past = decide(made, {NODEFS: Observation(5, 100)}, (), Past(), START).past
    seen = {NODEFS: Observation(50, 100)}
    assert decide(made, seen, (), past, START + timedelta(seconds=29)).pressure == Pressure(disk=True)
    assert decide(made, seen, (), past, START + timedelta(seconds=30)).pressure == Pressure()


def test_a_clock_that_was_set_back_begins_a_transition_and_a_grace_anew() -> None:
    flags = {"eviction-soft": "nodefs.available<10%", "eviction-soft-grace-period": "nodefs.available=20s"}
    made = rules({**flags, "eviction-hard": "memory.available<1Ki", "eviction-pressure-transition-period": "30s"})
    ahead, short, enough = START + timedelta(hours=1), {NODEFS: Observation(5, 100)}, {NODEFS: Observation(50, 100)}
    past = decide(made, short, (), Past(), ahead).past
    waits = decide(made, short, (), past, START)
    assert waits.short is None and decide(made, short, (), waits.past, START + timedelta(seconds=20)).short is not None
    eased = decide(made, enough, (), past, START)
    assert eased.pressure == Pressure(disk=True)
    assert decide(made, enough, (), eased.past, START + timedelta(seconds=30)).pressure == Pressure()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"eviction-hard": "memory.free<1Gi"}, "'memory.free' is no signal"),
        ({"eviction-hard": "memory.available=1Gi"}, "is not of the form signal<value"),
        ({"eviction-hard": "memory.available<lots"}, "'lots' is no amount for memory.available"),
        ({"eviction-hard": "nodefs.available<110%"}, "'110%' is no share"),
        ({"eviction-hard": "nodefs.available<5%,nodefs.available<6%"}, "said twice"),
        ({"eviction-soft": "nodefs.available<0"}, "must be positive"),
        ({"eviction-soft-grace-period": "nodefs.available=soon"}, "'soon' is not how long"),
        ({"kube-reserved": "disk=1Gi"}, "'disk' cannot be reserved"),
        ({"system-reserved": "memory=-1Gi"}, "must not be negative"),
        ({"eviction-minimum-reclaim": "nodefs.available=x"}, "'x' is no amount"),
    ],
)
def test_a_wrong_flag_is_named(flags: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        rules(flags)
    assert words in capsys.readouterr().err


def test_a_soft_threshold_needs_a_grace() -> None:
    with pytest.raises(ValueError, match=r"soft threshold of memory\.available has no grace period"):
        rules({"eviction-soft": "memory.available<1Gi"})


def test_none_and_all_are_off() -> None:
    assert rules({"eviction-hard": "memory.available<0%,nodefs.available<100%"}).thresholds == ()


def test_critical_pods() -> None:
    plain, important, static = core.Pod(), core.Pod(), core.Pod()
    important.spec.priority = 2_000_001_000
    static.metadata.annotations["kubernetes.io/config.source"] = "file"
    assert [is_critical(pod) for pod in (plain, important, static)] == [False, True, True]
