"""The pod's status as Kubernetes reports it: spec, observation and facts in, PodStatus out. Pure.

Empty structs are left out, as the API server leaves them out: a status that comes back as it was
written is not written again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.conditions import is_true, set_condition
from knarr.objects.pods import is_deleting, is_finished, is_sidecar
from knarr.objects.qos import qos_class
from services.kubelet.node.image_names import with_tag
from services.kubelet.pod.decide import Waiting, is_ready, is_started
from services.kubelet.pod.facts import PodFacts
from services.kubelet.pod.phase import failed_init, has_finished
from services.kubelet.runtime.port import EXITED, RUNNING, Container, PodObservation

OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True)
class View:
    """Everything the status is made from. ``scheme`` is the engine's, as ``docker``."""

    pod: core.Pod
    observation: PodObservation
    facts: PodFacts
    now: datetime
    host_ip: str
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    scheme: str = "docker"


def pod_status(view: View) -> core.PodStatus:
    """The whole status to write; what others own in the old one (foreign conditions …) is kept."""
    pod, old = view.pod, view.pod.status
    if view.facts.refused or _was_refused(view):
        return _refused(view)
    status = core.PodStatus(
        nominated_node_name=old.nominated_node_name, qos_class=old.qos_class or qos_class(pod.spec), host_ip=view.host_ip
    )
    status.host_ips.add(ip=view.host_ip)
    status.start_time.CopyFrom(old.start_time if old.HasField("start_time") else to_time(view.facts.seen_at))
    _addresses(view, status)
    status.init_container_statuses.extend(_container_status(view, spec, init=True) for spec in pod.spec.init_containers)
    status.container_statuses.extend(_container_status(view, spec, init=False) for spec in pod.spec.containers)
    _phase(view, status)
    _conditions(view, status)
    return status


def _was_refused(view: View) -> bool:
    """Failed before any of its containers was made: by the kubelet that ran here before."""
    return view.pod.status.phase == "Failed" and not view.pod.status.container_statuses and not view.observation.containers


def _refused(view: View) -> core.PodStatus:
    """The status of a pod that the node never took."""
    old = view.pod.status
    reason, message = view.facts.verdict or (old.reason, old.message)
    status = core.PodStatus(phase="Failed", reason=reason, message=message, qos_class=old.qos_class or qos_class(view.pod.spec))
    status.start_time.CopyFrom(old.start_time if old.HasField("start_time") else to_time(view.facts.seen_at))
    status.conditions.extend(old.conditions)
    return status


def _addresses(view: View, status: core.PodStatus) -> None:
    sandbox = view.observation.sandbox
    if view.pod.spec.host_network:
        ip = view.host_ip if sandbox is not None else ""
    else:
        ip = sandbox.ip if sandbox is not None and sandbox.ready else view.pod.status.pod_ip if sandbox is None else ""
    if ip:
        status.pod_ip = ip
        status.pod_ips.add(ip=ip)


def _container_status(view: View, spec: core.Container, *, init: bool) -> core.ContainerStatus:
    container = view.observation.latest(spec.name)
    previous = _previous_status(view.pod, spec.name)
    result = core.ContainerStatus(name=spec.name, image=with_tag(spec.image), started=False)
    waiting = view.waiting.get(spec.name)
    if container is None:
        _never_seen(view, spec, previous, waiting, result)
        return result
    result.restart_count = container.attempt
    if container.state in (RUNNING, EXITED):
        # Not sooner: a container that is made and not started yet would be a write of its own.
        result.image_id = container.image_id
        result.container_id = f"{view.scheme}://{container.id}"
    earlier = _attempt(view.observation, spec.name, container.attempt - 1)
    if earlier is not None and earlier.state == EXITED:
        result.last_state.terminated.CopyFrom(_terminated(view, earlier))
    elif previous is not None and container.attempt - previous.restart_count in (0, 1):
        _keep_last_state(previous, result)
    if container.state == RUNNING:
        result.state.running.SetInParent()
        if container.started_at is not None:
            result.state.running.started_at.CopyFrom(to_time(container.started_at))
        result.started = is_started(spec, container, view.facts)
        result.ready = is_ready(spec, container, view.facts) and not (init and not is_sidecar(spec))
    elif container.state == EXITED:
        terminated = _terminated(view, container)
        if waiting is not None:
            result.last_state.terminated.CopyFrom(terminated)
            result.state.waiting.CopyFrom(core.ContainerStateWaiting(reason=waiting.reason, message=waiting.message))
        else:
            result.state.terminated.CopyFrom(terminated)
        result.ready = init and not is_sidecar(spec) and container.exit_code == 0
    else:
        shown = waiting or Waiting("ContainerCreating")
        result.state.waiting.CopyFrom(core.ContainerStateWaiting(reason=shown.reason, message=shown.message))
    return result


def _never_seen(
    view: View, spec: core.Container, previous: core.ContainerStatus | None, waiting: Waiting | None, result: core.ContainerStatus
) -> None:
    """The engine has no such container: not made yet, or removed behind our back."""
    ended = previous is not None and (previous.state.HasField("terminated") or previous.state.HasField("running"))
    over = view.facts.verdict is not None or view.facts.gone or is_finished(view.pod)
    if previous is not None and ended and (over or is_deleting(view.pod)):
        result.CopyFrom(previous)
        result.ready, result.started = False, False
        if previous.state.HasField("running"):
            result.state.Clear()
            result.state.terminated.CopyFrom(_lost(previous.container_id))
        return
    if previous is not None:
        result.restart_count = previous.restart_count
        _keep_last_state(previous, result)
        if previous.state.HasField("terminated"):
            result.last_state.terminated.CopyFrom(previous.state.terminated)
        elif previous.state.HasField("running"):
            result.last_state.terminated.CopyFrom(_lost(previous.container_id))
    shown = waiting or Waiting("PodInitializing" if view.pod.spec.init_containers else "ContainerCreating")
    result.state.waiting.CopyFrom(core.ContainerStateWaiting(reason=shown.reason, message=shown.message))


def _lost(container_id: str) -> core.ContainerStateTerminated:
    """How a container ended that ran when it was last seen."""
    message = "The container could not be located any more; it used to run"
    return core.ContainerStateTerminated(exit_code=137, reason="ContainerStatusUnknown", message=message, container_id=container_id)


def _terminated(view: View, container: Container) -> core.ContainerStateTerminated:
    reason = "Completed" if container.exit_code == 0 else "Error"
    if container.oom_killed:
        reason = "OOMKilled"
    elif container.error:
        reason = "StartError"
    known = view.facts.containers.get(container.id)
    message = container.error or ((known.termination_message if known else None) or "")
    result = core.ContainerStateTerminated(
        exit_code=container.exit_code, reason=reason, message=message, container_id=f"{view.scheme}://{container.id}"
    )
    # One that never started began and ended at once: no start would read as the year 1.
    started_at = container.started_at or container.finished_at
    if started_at is not None:
        result.started_at.CopyFrom(to_time(started_at))
    if container.finished_at is not None:
        result.finished_at.CopyFrom(to_time(container.finished_at))
    return result


def _keep_last_state(previous: core.ContainerStatus, result: core.ContainerStatus) -> None:
    if previous.HasField("last_state"):
        result.last_state.CopyFrom(previous.last_state)


def _previous_status(pod: core.Pod, name: str) -> core.ContainerStatus | None:
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    return next((status for status in statuses if status.name == name), None)


def _attempt(observation: PodObservation, name: str, attempt: int) -> Container | None:
    return next((c for c in observation.containers if c.name == name and c.attempt == attempt), None)


def _phase(view: View, status: core.PodStatus) -> None:
    pod, facts = view.pod, view.facts
    if facts.verdict is not None:
        status.phase, status.reason, status.message = "Failed", *facts.verdict
    elif is_finished(pod):
        status.phase, status.reason, status.message = pod.status.phase, pod.status.reason, pod.status.message
    else:
        status.phase = _computed_phase(view, status)


def _computed_phase(view: View, status: core.PodStatus) -> str:
    pod, observation = view.pod, view.observation
    if failed_init(pod, observation):
        return "Failed"
    if has_finished(pod, observation) or (is_deleting(pod) and _all_ended(status)):
        return "Failed" if any(found.state.terminated.exit_code for found in status.container_statuses) else "Succeeded"
    for found in status.container_statuses:
        if found.state.HasField("waiting") and not found.last_state.HasField("terminated"):
            return "Pending"
    return "Running" if status.container_statuses else "Pending"


def _all_ended(status: core.PodStatus) -> bool:
    """Nothing is started again in a pod that is being deleted: what has ended is final."""
    return all(found.state.HasField("terminated") for found in status.container_statuses)


def _conditions(view: View, status: core.PodStatus) -> None:
    pod = view.pod
    status.conditions.extend(kept for kept in pod.status.conditions if kept.type not in OWN_CONDITIONS)
    say = functools.partial(_say, view, status)
    sandbox = view.observation.sandbox
    say("PodReadyToStartContainers", sandbox is not None and sandbox.ready)
    ended = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(status.phase, "")
    uninitialized = [
        found.name
        for spec, found in zip(pod.spec.init_containers, status.init_container_statuses, strict=True)
        if not (found.started if is_sidecar(spec) else found.ready)
    ]
    if status.phase == "Succeeded":
        say("Initialized", True, "PodCompleted")
    elif uninitialized and not _any_app_seen(view):
        say("Initialized", False, "ContainersNotInitialized", _names("incomplete", uninitialized))
    else:
        say("Initialized", True)
    unready = [found.name for found in status.container_statuses if not found.ready]
    unready += [
        found.name
        for spec, found in zip(pod.spec.init_containers, status.init_container_statuses, strict=True)
        if is_sidecar(spec) and not found.ready
    ]
    if ended:
        ready: tuple[bool, str, str] = (False, ended, "")
    elif unready:
        ready = (False, "ContainersNotReady", _names("unready", unready))
    else:
        ready = (True, "", "")
    gates = _failed_gates(pod) if ready[0] else ()
    say("Ready", *((False, "ReadinessGatesNotReady", _gate_words(gates)) if gates else ready))
    say("ContainersReady", *ready)
    say("PodScheduled", True)


def _any_app_seen(view: View) -> bool:
    return any(view.observation.latest(spec.name) is not None for spec in view.pod.spec.containers)


def _names(what: str, names: Iterable[str]) -> str:
    return f"containers with {what} status: [{' '.join(names)}]"


def _failed_gates(pod: core.Pod) -> Sequence[str]:
    return [gate.condition_type for gate in pod.spec.readiness_gates if not is_true(pod.status, gate.condition_type)]


def _gate_words(gates: Iterable[str]) -> str:
    return ", ".join(f'corresponding condition of pod readiness gate "{gate}" does not exist or is not "True".' for gate in gates)


def _say(view: View, status: core.PodStatus, kind: str, value: bool, reason: str = "", message: str = "") -> None:
    set_condition(status, kind, value, reason=reason, message=message, now=view.now, before=view.pod.status)
