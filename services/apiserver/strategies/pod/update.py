"""Rules about a change of a pod: nearly all of its spec is fixed at birth."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_immutable, forbidden, invalid, range_error
from knarr.objects.copies import copy_of
from knarr.objects.pods import init_and_main_containers
from knarr.objects.restarts import may_restart_all, runs_again
from services.apiserver.strategies.paths import SPEC
from services.apiserver.strategies.pod.narrowing import validate_narrower
from services.apiserver.strategies.pod.validation import MAX_SECONDS

FIXED = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod_update(new: core.Pod, old: core.Pod) -> list[Cause]:
    """Images, a shorter activeDeadlineSeconds, further tolerations; a gated pod may lose its gates."""
    causes: list[Cause] = []
    for field, name in (("containers", "containers"), ("init_containers", "initContainers")):
        if len(getattr(new.spec, field)) != len(getattr(old.spec, field)):
            causes.append(forbidden(SPEC.child(name), "pod updates may not add or remove containers"))
    if not causes and not 0 <= new.spec.active_deadline_seconds <= MAX_SECONDS:
        causes.append(invalid(SPEC.child("activeDeadlineSeconds"), new.spec.active_deadline_seconds, range_error(0, MAX_SECONDS)))
    if causes:
        return causes
    causes += _deadline(new.spec, old.spec)
    causes += _tolerations(new.spec.tolerations, old.spec.tolerations)
    causes += _gates(new.spec, old.spec)
    if old.spec.scheduling_gates:
        causes += validate_narrower(new.spec, old.spec)
    changed = _other_changes(new.spec, old.spec)
    if changed:
        causes.append(forbidden(SPEC, f"{FIXED}\nchanged: {', '.join(changed)}"))
    return causes


def validate_pod_status_update(new: core.Pod, old: core.Pod) -> list[Cause]:
    """A binding is final, and so is a container's end where nothing restarts it."""
    path = Path("status")
    causes = check_immutable(path.child("qosClass"), new.status.qos_class, old.status.qos_class or new.status.qos_class)
    if may_restart_all(new.spec):
        return causes
    ephemeral = [status.name for status in old.status.ephemeral_container_statuses if status.state.HasField("terminated")]
    ended = [status.name for status in old.status.container_statuses if _is_final(status, new.spec)]
    causes += _ends(new.status.ephemeral_container_statuses, ephemeral, path.child("ephemeralContainerStatuses"))
    return causes + _ends(new.status.container_statuses, ended, path.child("containerStatuses"))


def _is_final(status: core.ContainerStatus, spec: core.PodSpec) -> bool:
    """Whether one of the main containers has ended and does not run again."""
    if not status.state.HasField("terminated"):
        return False
    container = next((found for found in spec.containers if found.name == status.name), core.Container())
    return not runs_again(container, spec.restart_policy, status.state.terminated.exit_code)


def _ends(new: Sequence[core.ContainerStatus], ended: Sequence[str], path: Path) -> list[Cause]:
    """That none goes on that has ended for good."""
    return [
        forbidden(path.index(index).child("state"), "may not be transitioned to non-terminated state")
        for index, status in enumerate(new)
        if status.name in ended and not status.state.HasField("terminated")
    ]


def _deadline(new: core.PodSpec, old: core.PodSpec) -> list[Cause]:
    path = SPEC.child("activeDeadlineSeconds")
    if not old.HasField("active_deadline_seconds"):
        return []
    if not new.HasField("active_deadline_seconds"):
        return [invalid(path, None, "must not update from a positive integer to nil value")]
    if new.active_deadline_seconds > old.active_deadline_seconds:
        return [invalid(path, new.active_deadline_seconds, "must be less than or equal to previous value")]
    return []


def _without_seconds(toleration: core.Toleration) -> tuple[str, str, str, str]:
    return toleration.key, toleration.operator, toleration.value, toleration.effect


def _tolerations(new: Sequence[core.Toleration], old: Sequence[core.Toleration]) -> list[Cause]:
    kept = {_without_seconds(toleration) for toleration in new}
    if all(_without_seconds(toleration) in kept for toleration in old):
        return []
    return [forbidden(SPEC.child("tolerations"), "existing toleration can not be modified except its tolerationSeconds")]


def _gates(new: core.PodSpec, old: core.PodSpec) -> list[Cause]:
    known = {gate.name for gate in old.scheduling_gates}
    path = SPEC.child("schedulingGates")
    return [
        forbidden(path.index(index).child("name"), "only deletion is allowed, but found new scheduling gate '" + gate.name + "'")
        for index, gate in enumerate(new.scheduling_gates)
        if gate.name not in known
    ]


def _other_changes(new: core.PodSpec, old: core.PodSpec) -> list[str]:
    """JSON names of the changed spec fields that must not change."""
    left, right = _masked(new, old), _masked(old, old)
    if left == right:
        return []
    found = {field.json_name for field, value in left.ListFields() if value != getattr(right, field.name)}
    return sorted(found | {field.json_name for field, value in right.ListFields() if value != getattr(left, field.name)})


def _masked(spec: core.PodSpec, old: core.PodSpec) -> core.PodSpec:
    masked = copy_of(spec)
    for container in init_and_main_containers(masked):
        container.image = ""
    for field in ("active_deadline_seconds", "tolerations", "scheduling_gates"):
        masked.ClearField(field)
    if old.termination_grace_period_seconds < 0 and masked.termination_grace_period_seconds == 1:
        masked.termination_grace_period_seconds = old.termination_grace_period_seconds
    if old.scheduling_gates:
        masked.ClearField("node_selector")
        masked.affinity.ClearField("node_affinity")
        if not masked.affinity.ListFields():
            masked.ClearField("affinity")
    return masked
