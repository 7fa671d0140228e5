"""The heart: what is to be done about a pod. Scenarios as a person would tell them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.cpus.view import PodCpus
from services.kubelet.pod.actions import Decision
from services.kubelet.pod.decide import decide
from services.kubelet.pod.facts import Failing, PodFacts, StartFailure, next_backoff, wait_until
from services.kubelet.pod.spec import container_hash
from services.kubelet.pod.status import pod_status
from services.kubelet.pod.view import StatusView
from services.kubelet.runtime.plan import Limits, PodRef
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, Container, PodObservation, Sandbox
from tests.kubelet.support import make_pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REF = PodRef("default", "web", "uid-1")
SANDBOX = Sandbox("s0", REF, 0, True, "10.244.0.2")


def container(name: str = "app", state: str = RUNNING, attempt: int = 0, exit_code: int = 0, **changes: Any) -> Container:
    ended = NOW - timedelta(seconds=1) if state == EXITED else None
    spec_hash = container_hash(core.Container(name=name, image="app:1"))
    base = Container(f"{name}-{attempt}", name, attempt, state, "app:1", "docker://sha256:1", spec_hash, 0, NOW, NOW, ended, exit_code)
    return replace(base, **changes)


def seen(*containers: Container, sandbox: Sandbox | None = SANDBOX) -> PodObservation:
    return PodObservation(REF, (sandbox,) if sandbox else (), containers)


def facts(**changes: Any) -> PodFacts:
    return PodFacts(NOW, volumes_ready=True, **changes) if "volumes_ready" not in changes else PodFacts(NOW, **changes)


def told(decision: Decision) -> list[str]:
    words = []
    for action in decision.actions:
        target = getattr(action, "spec", None) or getattr(action, "container", None)
        attempt = f"#{action.attempt}" if hasattr(action, "attempt") else ""
        words.append(type(action).__name__ + (f" {target.name}" if target is not None else "") + attempt)
    return words


def test_a_new_pod_gets_volumes_then_a_sandbox_then_all_its_containers() -> None:
    pod = make_pod("web", "a", "b")
    assert told(decide(pod, PodObservation(REF), facts(volumes_ready=False), NOW)) == ["PrepareVolumes"]
    assert told(decide(pod, PodObservation(REF), facts(), NOW)) == ["CreateSandbox#0"]
    assert told(decide(pod, seen(), facts(), NOW)) == ["StartContainer a#0", "StartContainer b#0"]
    assert told(decide(pod, seen(container("a"), container("b")), facts(), NOW)) == []


def test_what_is_being_done_is_not_begun_again() -> None:
    assert told(decide(make_pod("web", "a", "b"), seen(), facts(busy={"a"}), NOW)) == ["StartContainer b#0"]


@pytest.mark.parametrize(
    ("policy", "exit_code", "restarted"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 0, False), ("Never", 1, False)],
)
def test_restart_policy(policy: str, exit_code: int, restarted: bool) -> None:
    pod = make_pod("web", "a", "b", restart_policy=policy)
    decision = decide(pod, seen(container("a", EXITED, exit_code=exit_code), container("b")), facts(), NOW)
    assert told(decision) == (["StartContainer a#1"] if restarted else [])


def test_a_container_that_keeps_ending_waits_longer_and_longer() -> None:
    failing = container("app", EXITED, 4, exit_code=1)
    backoff = Failing(4, NOW - timedelta(seconds=2))
    decision = decide(make_pod(), seen(failing), facts(crash={"app": backoff}), NOW)
    assert told(decision) == []
    assert decision.waiting["app"].reason == "CrashLoopBackOff"
    assert decision.waiting["app"].message == "back-off 1m20s restarting failed container=app pod=web_default()"
    assert decision.wake_at == NOW + timedelta(seconds=79)
    assert told(decide(make_pod(), seen(failing), facts(crash={"app": backoff}), NOW + timedelta(seconds=79))) == ["StartContainer app#5"]


def test_back_off_doubles_up_to_five_minutes_and_is_forgotten_after_ten() -> None:
    backoff, delays = None, []
    for _ in range(7):
        backoff = next_backoff(backoff, NOW, NOW)
        delays.append(int(backoff.delay.total_seconds()))
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    assert backoff is not None
    assert wait_until(backoff, NOW, NOW) == NOW + timedelta(minutes=5)
    later = NOW + timedelta(minutes=11)
    assert wait_until(backoff, later, later) is None
    assert next_backoff(backoff, later, later).delay == timedelta(seconds=10)


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    """Times of an hour ahead would be waited for, where ten seconds were meant."""
    ahead = NOW + timedelta(hours=1)
    failure = StartFailure("ErrImagePull", "no route", ahead, ahead + timedelta(seconds=10))
    assert told(decide(make_pod(), seen(), facts(failures={"app": failure}), NOW)) == ["StartContainer app#0"]
    failing = replace(container("app", EXITED, 4, exit_code=1), finished_at=ahead)
    crashed = facts(crash={"app": Failing(4, ahead - timedelta(seconds=2))})
    assert told(decide(make_pod(), seen(failing), crashed, NOW)) == ["StartContainer app#5"]
    alone = replace(container("app"), limits=Limits(cpuset="0-3"))
    pinned = facts(cpus=PodCpus("1-3"), pin_failures={"app": failure})
    assert told(decide(make_pod(), seen(alone), pinned, NOW)) == ["PinContainer app"]
    waiting = decide(make_pod(), seen(alone), pinned, ahead)
    assert told(waiting) == [] and waiting.wake_at == failure.retry_at
    # An engine's clock may be a little ahead of ours.
    failing = replace(failing, finished_at=NOW + timedelta(seconds=5))
    assert told(decide(make_pod(), seen(failing), crashed, NOW)) == []


def test_init_containers_run_one_after_the_other_before_the_others() -> None:
    pod = make_pod()
    for name in ("one", "two"):
        pod.spec.init_containers.add(name=name, image="app:1")
    assert told(decide(pod, seen(), facts(), NOW)) == ["StartContainer one#0"]
    assert told(decide(pod, seen(container("one")), facts(), NOW)) == []
    assert told(decide(pod, seen(container("one", EXITED)), facts(), NOW)) == ["StartContainer two#0"]
    both = (container("one", EXITED), container("two", EXITED))
    assert told(decide(pod, seen(*both), facts(), NOW)) == ["StartContainer app#0"]
    assert told(decide(pod, seen(container("one", EXITED, exit_code=1)), facts(), NOW)) == ["StartContainer one#1"]
    pod.spec.restart_policy = "Never"
    assert told(decide(pod, seen(container("one", EXITED, exit_code=1)), facts(), NOW)) == ["RemoveSandboxes"]


def test_a_sidecar_runs_beside_the_others_and_ends_after_them() -> None:
    pod = make_pod()
    pod.spec.init_containers.add(name="proxy", image="app:1", restart_policy="Always")
    assert told(decide(pod, seen(), facts(), NOW)) == ["StartContainer proxy#0"]
    assert told(decide(pod, seen(container("proxy")), facts(), NOW)) == ["StartContainer app#0"]
    pod.metadata.deletion_timestamp.seconds = 1
    assert told(decide(pod, seen(container("proxy"), container("app")), facts(), NOW)) == ["KillContainer app"]
    assert told(decide(pod, seen(container("proxy"), container("app", EXITED)), facts(), NOW)) == ["KillContainer proxy"]


def test_a_deleted_pod_ends_in_order() -> None:
    pod = make_pod()
    pod.metadata.deletion_timestamp.seconds = 1
    pod.metadata.deletion_grace_period_seconds = 7
    decision = decide(pod, seen(container()), facts(), NOW)
    assert told(decision) == ["KillContainer app"]
    assert decision.actions[0].grace_seconds == 7  # type: ignore[union-attr]
    assert told(decide(pod, seen(container(state=EXITED)), facts(), NOW)) == ["RemoveSandboxes"]
    assert told(decide(pod, seen(container(state=EXITED), sandbox=None), facts(), NOW)) == ["RemoveContainers"]
    assert told(decide(pod, PodObservation(REF), facts(), NOW)) == ["CleanUp"]
    assert decide(pod, PodObservation(REF), facts(cleaned=True), NOW).done


def test_a_lost_sandbox_is_made_anew_and_init_runs_again() -> None:
    pod = make_pod()
    pod.spec.init_containers.add(name="init", image="app:1")
    dead = replace(SANDBOX, ready=False)
    old = (container("init", EXITED), container())
    assert told(decide(pod, seen(*old, sandbox=dead), facts(), NOW)) == ["KillContainer app"]
    ended = (container("init", EXITED), container(state=EXITED, exit_code=137))
    assert told(decide(pod, seen(*ended, sandbox=dead), facts(), NOW)) == ["RemoveSandboxes"]
    assert told(decide(pod, seen(*ended, sandbox=None), facts(), NOW)) == ["CreateSandbox#1"]
    fresh = replace(SANDBOX, id="s1", attempt=1)
    assert told(decide(pod, seen(*ended, sandbox=fresh), facts(), NOW)) == ["StartContainer init#1"]
    again = container("init", EXITED, 1, sandbox_attempt=1)
    assert told(decide(pod, seen(*ended, again, sandbox=fresh), facts(), NOW)) == ["StartContainer app#1"]


@pytest.mark.parametrize("name", ["app", "proxy", "setup", "shell"])
def test_what_runs_in_an_older_sandbox_ends_before_anything_else_and_then_runs_in_the_pods_own(name: str) -> None:
    """A start that is under way while the sandbox is made anew may come true after that."""
    pod = make_pod()
    pod.spec.init_containers.add(name="setup", image="app:1")
    pod.spec.init_containers.add(name="proxy", image="app:1", restart_policy="Always")
    pod.spec.ephemeral_containers.add().ephemeral_container_common.name = "shell"
    fresh = replace(SANDBOX, id="s1", attempt=1)
    present = [container(other, RUNNING, sandbox_attempt=1) for other in ("proxy", "app", "shell") if other != name]
    setup = [container("setup", EXITED, sandbox_attempt=1)] if name != "setup" else []
    decision = decide(pod, seen(container(name), *setup, *present, sandbox=fresh), facts(), NOW)
    assert told(decision) == [f"KillContainer {name}"]
    ended = container(name, EXITED, exit_code=137)
    after = told(decide(pod, seen(ended, *setup, *present, sandbox=fresh), facts(), NOW))
    # An init container is not run again where the app containers have begun, an ephemeral one never.
    assert after == ([f"StartContainer {name}#1"] if name in ("app", "proxy") else [])


def test_what_is_killed_for_a_successor_starts_again_whatever_it_exits_with() -> None:
    pod = make_pod()
    pod.spec.restart_policy = "OnFailure"
    known = facts()
    ended = seen(container(state=EXITED))
    assert told(decide(pod, ended, known, NOW)) == ["RemoveSandboxes"]
    assert pod_status(StatusView(pod, ended, known, NOW)).phase == "Succeeded"
    known.of("app-0").again = True
    assert told(decide(pod, ended, known, NOW)) == ["StartContainer app#1"]
    assert pod_status(StatusView(pod, ended, known, NOW)).phase == "Running"


@pytest.mark.parametrize(("policy", "again"), [("Always", True), ("OnFailure", True), ("Never", False)])
def test_a_failed_probe_starts_it_again_by_the_policy_and_a_changed_definition_always(policy: str, again: bool) -> None:
    pod, known = make_pod(), facts()
    pod.spec.restart_policy = policy
    known.of("app-0").unhealthy = "Container app failed liveness probe, will be restarted"
    assert decide(pod, seen(container()), known, NOW).actions[0].again is again  # type: ignore[union-attr]
    pod.spec.containers[0].image = "app:2"
    assert decide(pod, seen(container()), facts(), NOW).actions[0].again  # type: ignore[union-attr]


def test_an_unhealthy_container_is_killed_and_a_changed_one_too() -> None:
    known = facts()
    known.of("app-0").unhealthy = "Container app failed liveness probe, will be restarted"
    decision = decide(make_pod(), seen(container()), known, NOW)
    assert told(decision) == ["KillContainer app"]
    pod = make_pod()
    pod.spec.containers[0].image = "app:2"
    assert decide(pod, seen(container()), facts(), NOW).actions[0].message == (  # type: ignore[union-attr]
        "Container app definition changed, will be restarted"
    )


def test_a_failed_pull_is_shown_then_backed_off_then_tried_again() -> None:
    failure = StartFailure("ErrImagePull", "no route", NOW, NOW + timedelta(seconds=10), "ImagePullBackOff", 'Back-off pulling image "x"')
    known = facts(failures={"app": failure})
    reasons = [decide(make_pod(), seen(), known, NOW + timedelta(seconds=s)).waiting["app"].reason for s in (0, 5)]
    assert reasons == ["ErrImagePull", "ImagePullBackOff"]
    assert told(decide(make_pod(), seen(), known, NOW + timedelta(seconds=10))) == ["StartContainer app#0"]


def test_old_dead_containers_are_removed_but_the_last() -> None:
    dead = [container("app", EXITED, attempt, exit_code=1) for attempt in range(4)]
    decision = decide(make_pod(), seen(*dead, container("app", RUNNING, 4)), facts(), NOW)
    assert [c.attempt for c in decision.actions[0].containers] == [2, 1, 0]  # type: ignore[union-attr]


STATES = st.sampled_from([None, CREATED, RUNNING, EXITED])


@settings(max_examples=200, deadline=None)
@given(
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    states=st.tuples(STATES, STATES),
    codes=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    sandbox=st.sampled_from([None, SANDBOX, replace(SANDBOX, ready=False)]),
    deleting=st.booleans(),
    gone=st.booleans(),
)
def test_whatever_is_seen_a_pod_that_ends_starts_nothing_and_never_rests_with_something_running(
    policy: str, states: tuple[str | None, ...], codes: tuple[int, ...], sandbox: Sandbox | None, deleting: bool, gone: bool
) -> None:
    pod = make_pod("web", "a", "b", restart_policy=policy)
    if deleting:
        pod.metadata.deletion_timestamp.seconds = 1
    found = [container(n, s, exit_code=c if s == EXITED else 0) for n, s, c in zip("ab", states, codes, strict=True) if s]
    decision = decide(pod, seen(*found, sandbox=sandbox), facts(gone=gone), NOW)
    if deleting or gone:
        assert not any(word.startswith(("Start", "Create", "Prepare")) for word in told(decision))
        assert decision.actions or decision.done
        assert not (decision.done and (found or sandbox))
    status = pod_status(StatusView(pod, seen(*found, sandbox=sandbox), facts(gone=gone), NOW, "192.0.2.1", decision.waiting))
    for entry in status.container_statuses:
        assert sum(entry.state.HasField(kind) for kind in ("waiting", "running", "terminated")) == 1
        assert not entry.ready or entry.state.HasField("running")


def test_a_container_that_was_lost_with_the_engines_state_counts_on() -> None:
    pod = make_pod()
    pod.status.CopyFrom(pod_status(StatusView(pod, seen(container(attempt=6)), facts(), NOW, "192.0.2.1")))
    assert told(decide(pod, seen(), facts(), NOW)) == ["StartContainer app#7"]
    pod.status.CopyFrom(pod_status(StatusView(pod, seen(), facts(), NOW, "192.0.2.1")))
    assert told(decide(pod, seen(), facts(), NOW)) == ["StartContainer app#7"]
    again = pod_status(StatusView(pod, seen(container(attempt=7)), facts(), NOW, "192.0.2.1")).container_statuses[0]
    assert (again.restart_count, again.last_state.terminated.reason) == (7, "ContainerStatusUnknown")
    assert again.last_state.terminated.container_id == "docker://app-6"


def debugged(*names: str, target: str = "") -> core.Pod:
    pod = make_pod("web", "app")
    for name in names:
        added = pod.spec.ephemeral_containers.add(target_container_name=target)
        added.ephemeral_container_common.name, added.ephemeral_container_common.image = name, "app:1"
    return pod


def test_an_ephemeral_container_is_started_once_and_never_again() -> None:
    pod = debugged("debug")
    app = container()
    assert told(decide(pod, seen(app), facts(), NOW)) == ["StartContainer debug#0"]
    assert told(decide(pod, seen(app, container("debug", CREATED)), facts(), NOW)) == ["StartContainer debug#0"]
    for state in (RUNNING, EXITED):
        assert told(decide(pod, seen(app, container("debug", state, exit_code=1)), facts(), NOW)) == []
    # A new sandbox brings it not back either.
    later = replace(SANDBOX, id="s1", attempt=1)
    assert "debug" not in " ".join(told(decide(pod, seen(container("debug", EXITED), sandbox=later), facts(), NOW)))


def test_an_ephemeral_container_is_there_while_init_containers_fail() -> None:
    pod = debugged("debug")
    pod.spec.init_containers.add(name="init", image="app:1")
    failing = container("init", EXITED, exit_code=1)
    waits = facts(crash={"init": Failing(3, NOW)})
    assert told(decide(pod, seen(failing), waits, NOW)) == ["StartContainer debug#0"]


def test_an_ephemeral_container_keeps_no_pod_from_ending_and_ends_with_it() -> None:
    pod = debugged("debug")
    pod.spec.restart_policy = "Never"
    decision = decide(pod, seen(container(state=EXITED), container("debug")), facts(), NOW)
    assert told(decision) == ["KillContainer debug"]


def test_an_ephemeral_container_is_told_of_beside_the_others() -> None:
    pod = debugged("one", "two")
    ended = container("two", EXITED, exit_code=3)
    status = pod_status(StatusView(pod, seen(container(), container("one"), ended), facts(), NOW, "192.0.2.1"))
    one, two = status.ephemeral_container_statuses
    assert (one.state.HasField("running"), one.ready, one.HasField("started")) == (True, False, False)
    assert (two.state.terminated.exit_code, two.restart_count) == (3, 0)
    assert status.phase == "Running" and [found.name for found in status.container_statuses] == ["app"]
