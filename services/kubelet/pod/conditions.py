"""The conditions of a pod that its kubelet owns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import is_true, set_condition
from knarr.objects.pods import is_sidecar
from knarr.objects.resizes import PENDING
from knarr.objects.restarts import may_restart_all
from services.kubelet.pod.allocation import ERROR, IN_PROGRESS
from services.kubelet.pod.phase import starts_anew
from services.kubelet.pod.view import ALL_RESTARTING, StatusView

OWN_CONDITIONS = (
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    PENDING,
    IN_PROGRESS,
    ALL_RESTARTING,
)
# Why a pod that is over is not ready.
ENDED = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}
DISRUPTED, BY_KUBELET = "DisruptionTarget", "TerminationByKubelet"


def is_own(condition: core.PodCondition) -> bool:
    """Whether the kubelet owns a condition. That a pod was disrupted others tell, too, for reasons of theirs."""
    return condition.type in OWN_CONDITIONS or (condition.type, condition.reason) == (DISRUPTED, BY_KUBELET)


def set_conditions(view: StatusView, status: core.PodStatus) -> None:
    """Those of others as they stand in the pod, then the kubelet's own. ``status`` has phase and containers already."""
    own = (*OWN_CONDITIONS, DISRUPTED) if view.facts.disrupted else OWN_CONDITIONS
    status.conditions.extend(kept for kept in view.pod.status.conditions if kept.type not in own)
    sandbox = view.observation.sandbox
    _set(view, status, "PodReadyToStartContainers", sandbox is not None and sandbox.ready)
    _set_initialized(view, status)
    ready = _readiness(view, status)
    gates = _failed_gates(view.pod) if ready[0] else ()
    _set(view, status, "Ready", *((False, "ReadinessGatesNotReady", _gate_words(gates)) if gates else ready))
    _set(view, status, "ContainersReady", *ready)
    _set(view, status, "PodScheduled", True)
    _set_resize(view, status)
    if may_restart_all(view.pod.spec):
        _set_starting_anew(view, status)
    if view.facts.disrupted and view.facts.verdict is not None:
        _set(view, status, DISRUPTED, True, BY_KUBELET, view.facts.disruption or view.facts.verdict[1])


def _set_initialized(view: StatusView, status: core.PodStatus) -> None:
    uninitialized = [
        found.name
        for spec, found in zip(view.pod.spec.init_containers, status.init_container_statuses, strict=True)
        if not (found.started if is_sidecar(spec) else found.ready)
    ]
    if status.phase == "Succeeded":
        _set(view, status, "Initialized", True, "PodCompleted")
    elif uninitialized and not _any_app_seen(view) and not _was_initialized(view):
        _set(view, status, "Initialized", False, "ContainersNotInitialized", _names("incomplete", uninitialized))
    else:
        _set(view, status, "Initialized", True)


def _set_starting_anew(view: StatusView, status: core.PodStatus) -> None:
    ended = ENDED.get(status.phase)
    if ended is not None:
        _set(view, status, ALL_RESTARTING, False, ended)
    elif starts_anew(view.pod, view.observation):
        _set(view, status, ALL_RESTARTING, True, "RestartAllContainersStarted", "container exited with restart policy rule")
    else:
        _set(view, status, ALL_RESTARTING, False)


def _set_resize(view: StatusView, status: core.PodStatus) -> None:
    """There while a resize waits for room on the node, and while it is carried out; else not."""
    if view.facts.pending is not None:
        _set(view, status, PENDING, True, *view.facts.pending)
    if view.facts.resizing:
        failure = next(iter(view.facts.resize_failures.values()), None)
        _set(view, status, IN_PROGRESS, True, *((ERROR, failure.message) if failure is not None else ()))


def _readiness(view: StatusView, status: core.PodStatus) -> tuple[bool, str, str]:
    """Whether all containers are ready, with reason and message where not."""
    ended = ENDED.get(status.phase)
    if ended is not None:
        return False, ended, ""
    unready = [
        found.name
        for spec, found in zip(view.pod.spec.init_containers, status.init_container_statuses, strict=True)
        if is_sidecar(spec) and not found.ready
    ]
    unready += [found.name for found in status.container_statuses if not found.ready]
    return (False, "ContainersNotReady", _names("unready", unready)) if unready else (True, "", "")


def _any_app_seen(view: StatusView) -> bool:
    return any(view.observation.latest(spec.name) is not None for spec in view.pod.spec.containers)


def _was_initialized(view: StatusView) -> bool:
    """One that starts anew stays initialized while its init containers run once more."""
    return may_restart_all(view.pod.spec) and is_true(view.pod.status, "Initialized")


def _names(what: str, names: Iterable[str]) -> str:
    return f"containers with {what} status: [{' '.join(names)}]"


def _failed_gates(pod: core.Pod) -> Sequence[str]:
    return [gate.condition_type for gate in pod.spec.readiness_gates if not is_true(pod.status, gate.condition_type)]


def _gate_words(gates: Iterable[str]) -> str:
    return ", ".join(f'corresponding condition of pod readiness gate "{gate}" does not exist or is not "True".' for gate in gates)


def _set(view: StatusView, status: core.PodStatus, kind: str, value: bool, reason: str = "", message: str = "") -> None:
    set_condition(
        status, kind, value, reason=reason, message=message, now=view.now, before=view.pod.status, generation=view.pod.metadata.generation
    )
