"""Restarts of single containers by their own policies and rules, and of whole pods: decisions and what is told of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.pod.actions import RemoveContainers
from services.kubelet.pod.decide import decide
from services.kubelet.pod.status import pod_status
from services.kubelet.pod.view import StatusView
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import EXITED, RUNNING, PodObservation
from tests.kubelet.pod.test_decide import NOW, container, facts, seen, told
from tests.kubelet.support import condition, make_pod, running


def ruled(pod: core.Pod, name: str, action: str, *codes: int, policy: str = "Never") -> core.Pod:
    """The pod, with a rule of one of its containers."""
    spec = next(found for found in (*pod.spec.init_containers, *pod.spec.containers) if found.name == name)
    spec.restart_policy = policy
    rule = spec.restart_policy_rules.add(action=action)
    rule.exit_codes.operator = "In"
    rule.exit_codes.values.extend(codes)
    return pod


def publish(pod: core.Pod, observation: PodObservation) -> core.PodStatus:
    """Tells the status and keeps it, as a worker does."""
    known = facts()
    status = pod_status(StatusView(pod, observation, known, NOW, "192.0.2.1", decide(pod, observation, known, NOW).waiting))
    pod.status.CopyFrom(status)
    return status


@pytest.mark.parametrize(
    ("pod_policy", "own", "exit_code", "does"),
    [
        ("Never", "Always", 0, ["StartContainer a#1"]),
        ("Never", "OnFailure", 0, []),
        ("Never", "OnFailure", 1, ["StartContainer a#1"]),
        ("Always", "Never", 1, []),
    ],
)
def test_a_containers_own_policy_decides_about_it(pod_policy: str, own: str, exit_code: int, does: list[str]) -> None:
    pod = make_pod("web", "a", "b", restart_policy=pod_policy)
    pod.spec.containers[0].restart_policy = own
    assert told(decide(pod, seen(container("a", EXITED, exit_code=exit_code), container("b")), facts(), NOW)) == does


def test_a_pod_is_over_when_none_of_its_containers_runs_again_by_its_own_policy() -> None:
    pod = make_pod("web", "a", "b", restart_policy="Always")
    for spec in pod.spec.containers:
        spec.restart_policy = "Never"
    ended = seen(container("a", EXITED), container("b", EXITED, exit_code=3))
    assert told(decide(pod, ended, facts(), NOW)) == ["RemoveSandboxes"]
    assert publish(pod, ended).phase == "Failed"


@pytest.mark.parametrize(("code", "does"), [(42, ["StartContainer app#1"]), (1, ["RemoveSandboxes"])])
def test_a_rule_restarts_for_some_exit_codes_only(code: int, does: list[str]) -> None:
    pod = ruled(make_pod(restart_policy="Never"), "app", "Restart", 42)
    assert told(decide(pod, seen(container(state=EXITED, exit_code=code)), facts(), NOW)) == does


@pytest.mark.parametrize(
    ("pod_policy", "own", "does"),
    [("Always", "Never", ["RemoveSandboxes"]), ("Never", "OnFailure", ["StartContainer init#1"]), ("Never", "", ["RemoveSandboxes"])],
)
def test_an_init_containers_own_policy_says_whether_its_failure_is_the_pods(pod_policy: str, own: str, does: list[str]) -> None:
    pod = make_pod(restart_policy=pod_policy)
    init = pod.spec.init_containers.add(name="init", image="app:1")
    if own:
        init.restart_policy = own
    failed = seen(container("init", EXITED, exit_code=1))
    assert told(decide(pod, failed, facts(), NOW)) == does
    assert publish(pod, failed).phase == ("Pending" if own == "OnFailure" else "Failed")


@pytest.mark.parametrize(("own", "again", "words"), [("Always", True, ", will be restarted"), ("Never", False, "")])
def test_what_a_failed_probe_does_is_said_by_the_containers_own_policy(own: str, again: bool, words: str) -> None:
    pod, known = make_pod(restart_policy="Never" if again else "Always"), facts()
    pod.spec.containers[0].restart_policy = own
    known.of("app-0").unhealthy = "Container app failed liveness probe"
    action = decide(pod, seen(container()), known, NOW).actions[0]
    assert (action.again, action.message) == (again, f"Container app failed liveness probe{words}")  # type: ignore[union-attr]


def whole() -> core.Pod:
    """An init container, a sidecar, an app, and a trigger that starts them all anew."""
    pod = make_pod("web", "app", "trigger", restart_policy="Never")
    pod.spec.init_containers.add(name="init", image="app:1")
    pod.spec.init_containers.add(name="proxy", image="app:1", restart_policy="Always")
    return ruled(pod, "trigger", "RestartAllContainers", 42)


BEFORE = (container("init", EXITED), container("proxy"), container("app"), container("trigger"))


def test_a_whole_pod_starts_anew_in_its_sandbox() -> None:
    pod = whole()
    publish(pod, seen(*BEFORE))
    fired = (*BEFORE[:3], container("trigger", EXITED, exit_code=42))
    status = publish(pod, seen(*fired))
    assert (status.phase, condition(pod, "AllContainersRestarting"), condition(pod, "Initialized")) == ("Running", "True", "True")
    decision = decide(pod, seen(*fired), facts(), NOW)
    assert told(decision) == ["KillContainer proxy", "KillContainer app"]
    # Without their hooks.
    assert [action.spec for action in decision.actions] == [None, None]  # type: ignore[union-attr]
    assert told(decide(pod, seen(*fired), facts(busy={"proxy", "app"}), NOW)) == []
    ended = [replace(found, state=EXITED, exit_code=0 if found.name == "init" else 42) for found in fired]
    (removal,) = decide(pod, seen(*ended), facts(), NOW).actions
    assert isinstance(removal, RemoveContainers)
    assert [found.name for found in removal.containers] == ["init", "proxy", "app", "trigger"]


def test_a_kubelet_that_comes_while_containers_are_removed_goes_on_with_that() -> None:
    pod = whole()
    publish(pod, seen(*BEFORE))
    pod.status.conditions.add(type="AllContainersRestarting", status="True")
    left = seen(container("trigger", EXITED, exit_code=42))
    assert told(decide(pod, left, facts(), NOW)) == ["RemoveContainers"]
    assert condition(core.Pod(status=publish(pod, left)), "AllContainersRestarting") == "True"


def test_what_was_removed_waits_and_counts_on_and_the_init_containers_run_again() -> None:
    pod = whole()
    publish(pod, seen(*BEFORE))
    publish(pod, seen(*BEFORE[:3], container("trigger", EXITED, exit_code=42)))
    status = publish(pod, seen())
    assert (status.phase, condition(pod, "AllContainersRestarting"), condition(pod, "Initialized")) == ("Running", "False", "True")
    for entry in (*status.init_container_statuses, *status.container_statuses):
        ended = entry.last_state.terminated
        assert (entry.state.waiting.reason, entry.restart_count) == ("RestartingAllContainers", 1)
        assert (ended.reason, ended.exit_code) == ("RestartingAllContainers", 137)
    assert told(decide(pod, seen(), facts(), NOW)) == ["StartContainer init#1"]
    status = publish(pod, seen(container("init", RUNNING, 1)))
    assert [entry.restart_count for entry in (*status.init_container_statuses, *status.container_statuses)] == [1, 1, 1, 1]
    assert told(decide(pod, seen(container("init", EXITED, 1)), facts(), NOW)) == ["StartContainer proxy#1"]
    both = seen(container("init", EXITED, 1), container("proxy", RUNNING, 1))
    assert told(decide(pod, both, facts(), NOW)) == ["StartContainer app#1", "StartContainer trigger#1"]


def test_a_pod_that_ends_does_not_start_anew() -> None:
    pod = whole()
    pod.metadata.deletion_timestamp.seconds = 1
    fired = seen(*BEFORE[:3], container("trigger", EXITED, exit_code=42))
    assert told(decide(pod, fired, facts(), NOW)) == ["KillContainer app"]


async def test_a_hollow_pod_starts_anew(tmp_path: Path) -> None:
    runtime = HollowRuntime("10.244.0.0/24")
    async with running(runtime, tmp_path) as cluster:
        created = whole()
        created.spec.init_containers[0].command.extend(("sh", "-c", "exit 0"))
        await cluster.client.create(created)
        before = await cluster.ready()
        runtime.exit(before.metadata.uid, "trigger", 42)
        await cluster.until(lambda: (p := cluster.pod()) is not None and p.status.container_statuses[1].restart_count == 1)
        pod = await cluster.ready()
        assert {entry.name: entry.restart_count for entry in pod.status.container_statuses} == {"app": 1, "trigger": 1}
        assert {entry.name: entry.restart_count for entry in pod.status.init_container_statuses} == {"init": 1, "proxy": 1}
        assert pod.status.pod_ip == before.status.pod_ip
        assert {entry.last_state.terminated.reason for entry in pod.status.container_statuses} == {"RestartingAllContainers"}
