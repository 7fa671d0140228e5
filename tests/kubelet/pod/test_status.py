"""The status table: what is seen, and the phase, conditions and states that are told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.pod.decide import decide
from services.kubelet.pod.facts import Failing, PodFacts
from services.kubelet.pod.status import pod_status
from services.kubelet.pod.view import StatusView
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, Container, PodObservation
from tests.kubelet.pod.test_decide import NOW, REF, container, facts, seen
from tests.kubelet.support import condition, make_pod


def status_of(pod: core.Pod, observation: PodObservation, known: PodFacts | None = None) -> core.PodStatus:
    known = known or facts()
    return pod_status(StatusView(pod, observation, known, NOW, "192.0.2.1", decide(pod, observation, known, NOW).waiting))


def short(pod: core.Pod, observation: PodObservation, known: PodFacts | None = None) -> tuple[str, str, str]:
    """Phase, Ready, and each container's state."""
    status = status_of(pod, observation, known)
    holder = core.Pod(status=status)
    return status.phase, condition(holder, "Ready"), " ".join(map(state_of, status.container_statuses))


def state_of(found: core.ContainerStatus) -> str:
    state = found.state
    return "running" if state.HasField("running") else state.waiting.reason or f"{state.terminated.reason}:{state.terminated.exit_code}"


CRASHING = Failing(2, NOW)


@pytest.mark.parametrize(
    ("policy", "a", "b", "expected"),
    [
        ("Always", None, None, ("Pending", "False", "ContainerCreating ContainerCreating")),
        ("Always", (RUNNING, 0), None, ("Pending", "False", "running ContainerCreating")),
        ("Always", (RUNNING, 0), (RUNNING, 0), ("Running", "True", "running running")),
        ("Always", (EXITED, 1), (RUNNING, 0), ("Running", "False", "CrashLoopBackOff running")),
        ("Always", (EXITED, 1), (EXITED, 0), ("Running", "False", "CrashLoopBackOff Completed:0")),
        ("Never", (EXITED, 0), (RUNNING, 0), ("Running", "False", "Completed:0 running")),
        ("Never", (EXITED, 0), (EXITED, 0), ("Succeeded", "False", "Completed:0 Completed:0")),
        ("Never", (EXITED, 0), (EXITED, 3), ("Failed", "False", "Completed:0 Error:3")),
        ("OnFailure", (EXITED, 0), (EXITED, 0), ("Succeeded", "False", "Completed:0 Completed:0")),
        ("OnFailure", (EXITED, 1), (EXITED, 0), ("Running", "False", "CrashLoopBackOff Completed:0")),
    ],
)
def test_phases(policy: str, a: tuple[str, int] | None, b: tuple[str, int] | None, expected: tuple[str, str, str]) -> None:
    found = [container(name, got[0], exit_code=got[1]) for name, got in (("a", a), ("b", b)) if got]
    assert short(make_pod("web", "a", "b", restart_policy=policy), seen(*found), facts(crash={"a": CRASHING})) == expected


LATE = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
UNKNOWN = "ContainerStatusUnknown:137"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((), f"{UNKNOWN} {UNKNOWN}"),
        ((container("a", EXITED, exit_code=1),), f"Error:1 {UNKNOWN}"),
        # It still runs, so the pod is not over yet.
        ((container("a", RUNNING),), "running ContainerCreating"),
    ],
)
def test_nothing_waits_in_a_pod_that_is_over(found: tuple[Container, ...], expected: str) -> None:
    assert short(make_pod("web", "a", "b"), seen(*found), facts(verdict=LATE))[2] == expected


@pytest.mark.parametrize(
    ("found", "inits", "app"),
    [
        ((), f"{UNKNOWN} PodInitializing", "PodInitializing"),
        ((container("first", EXITED),), "Completed:0 PodInitializing", "PodInitializing"),
        ((container("first", EXITED), container("second", EXITED, exit_code=1)), "Completed:0 Error:1", "PodInitializing"),
        ((container("first", EXITED), container("second", EXITED)), "Completed:0 Completed:0", UNKNOWN),
    ],
)
def test_what_never_had_its_turn_waits_on_in_a_pod_that_is_over(found: tuple[Container, ...], inits: str, app: str) -> None:
    pod = make_pod("web", "app")
    for name in ("first", "second"):
        pod.spec.init_containers.add(name=name, image="busybox:1")
    status = status_of(pod, seen(*found), facts(verdict=LATE))
    assert " ".join(map(state_of, status.init_container_statuses)) == inits
    assert state_of(status.container_statuses[0]) == app


def test_conditions_and_addresses_of_a_running_pod() -> None:
    status = status_of(make_pod(), seen(container()))
    assert {c.type: c.status for c in status.conditions} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"), "True"
    )
    assert (status.pod_ip, status.pod_ips[0].ip, status.host_ip) == ("10.244.0.2", "10.244.0.2", "192.0.2.1")


@pytest.mark.parametrize("refused", [False, True])
def test_the_status_says_of_which_spec_it_speaks(refused: bool) -> None:
    pod = make_pod()
    pod.status.CopyFrom(status_of(pod, seen(container())))
    before = {entry.type: entry.last_transition_time for entry in pod.status.conditions}
    pod.metadata.generation = 3
    status = status_of(pod, seen(container()), facts(refused=True, verdict=("NodeAffinity", "no")) if refused else None)
    assert status.observed_generation == 3
    if not refused:
        assert {entry.observed_generation for entry in status.conditions} == {3}
        assert {entry.type: entry.last_transition_time for entry in status.conditions} == before


def test_the_state_before_is_kept_and_counted() -> None:
    entry = status_of(make_pod(), seen(container(state=EXITED, exit_code=137, oom_killed=True), container(attempt=1))).container_statuses[0]
    assert (entry.restart_count, entry.last_state.terminated.reason, entry.last_state.terminated.exit_code) == (1, "OOMKilled", 137)


def test_unready_containers_are_named() -> None:
    pod = make_pod()
    pod.spec.containers[0].readiness_probe.period_seconds = 1
    status = status_of(pod, seen(container()))
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert (ready.reason, ready.message) == ("ContainersNotReady", "containers with unready status: [app]")
    known = facts()
    known.of("app-0").ready = True
    assert short(pod, seen(container()), known)[1] == "True"


def test_transition_times_move_only_with_the_value() -> None:
    pod = make_pod()
    pod.status.CopyFrom(status_of(pod, seen(container())))
    later = pod_status(StatusView(pod, seen(container()), facts(), NOW + timedelta(hours=1), "192.0.2.1"))
    assert later == pod.status


def test_the_kubelets_own_verdict_is_final() -> None:
    status = status_of(make_pod(), seen(container(state=EXITED, exit_code=137)), facts(verdict=("DeadlineExceeded", "too long")))
    assert (status.phase, status.reason, status.message) == ("Failed", "DeadlineExceeded", "too long")


def test_conditions_of_others_are_kept() -> None:
    pod = make_pod()
    pod.status.conditions.add(type="example.com/gate", status="True")
    assert "example.com/gate" in {c.type for c in status_of(pod, PodObservation(REF)).conditions}


def empty_structs(message: Message) -> list[str]:
    """The fields that are set and hold nothing, at any depth."""
    found = []
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.message_type.GetOptions().map_entry:
            continue
        for one in value if descriptor.is_repeated else [value]:
            found += [descriptor.name] if not one.ListFields() else empty_structs(one)
    return found


@pytest.mark.parametrize(
    "observation",
    [
        PodObservation(REF),
        seen(),
        seen(container(state=CREATED)),
        seen(container()),
        seen(container(state=EXITED, exit_code=1)),
        seen(container(state=EXITED, exit_code=1), container(attempt=1)),
    ],
)
def test_no_empty_struct_is_told(observation: PodObservation) -> None:
    pod = make_pod()
    first = status_of(pod, observation)
    pod.status.CopyFrom(first)
    # That a container has no resources is said: whoever resizes looks whether the node tells of them.
    assert (set(empty_structs(first)) - {"resources"}, status_of(pod, observation)) == (set(), first)


def test_a_container_that_is_not_started_yet_changes_nothing() -> None:
    assert status_of(make_pod(), seen(container(state=CREATED))) == status_of(make_pod(), seen())


def test_a_container_that_never_started_began_when_it_ended() -> None:
    failed = container(state=EXITED, exit_code=128, error="no such file", started_at=None)
    terminated = status_of(make_pod(restart_policy="Never"), seen(failed)).container_statuses[0].state.terminated
    assert terminated.reason == "StartError"
    assert terminated.started_at.seconds == terminated.finished_at.seconds > 0


def test_a_successor_that_is_not_started_yet_is_no_state_of_its_own() -> None:
    """Neither its restart count nor an unready beside it: what ended is shown until the next one runs."""
    ended, made = container(state=EXITED, exit_code=1), container(state=CREATED, attempt=1)
    assert status_of(make_pod(), seen(ended, made)) == status_of(make_pod(), seen(ended))
    entry = status_of(make_pod(), seen(ended, container(attempt=1))).container_statuses[0]
    assert (entry.restart_count, entry.ready) == (1, True)


def test_while_init_containers_run_all_that_wait_are_initializing() -> None:
    pod = make_pod()
    pod.spec.init_containers.add(name="first", image="app:1")
    status = status_of(pod, seen(container("first", state=CREATED)))
    waiting = [entry.state.waiting.reason for entry in (*status.init_container_statuses, *status.container_statuses)]
    assert waiting == ["PodInitializing", "PodInitializing"]


def test_the_image_is_that_of_the_container_that_runs() -> None:
    pod = make_pod()
    pod.spec.containers[0].image = "app:2"
    assert status_of(pod, seen(container())).container_statuses[0].image == "app:1"
    assert status_of(pod, seen()).container_statuses[0].image == "app:2"
