"""The status of one container of a pod. Pure."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_time
from knarr.objects.images import with_tag
from knarr.objects.keys import is_deleting
from knarr.objects.pods import container_statuses, is_finished, is_sidecar
from services.kubelet.pod.actions import RESTARTING_ALL, Waiting
from services.kubelet.pod.facts import OOM_KILLED
from services.kubelet.pod.mount_status import mount_statuses
from services.kubelet.pod.readiness import is_ready, is_started
from services.kubelet.pod.resources import told_resources
from services.kubelet.pod.view import StatusView
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, Container, PodObservation

LOST_EXIT_CODE = 137
LOST = "The container could not be located when the pod was deleted.  The container used to be Running"
NOT_FOUND = "The container could not be located when the pod was terminated"


def container_status(view: StatusView, spec: core.Container, *, init: bool) -> core.ContainerStatus:
    """As Kubernetes tells of it; ``init``: it is one of the init containers."""
    container = _latest_started(view.observation, spec.name)
    previous = _previous_status(view.pod, spec.name)
    result = core.ContainerStatus(name=spec.name, image=with_tag(spec.image), started=False)
    result.volume_mounts.extend(mount_statuses(spec, view.facts.images, can=view.recursive_read_only))
    if container is None:
        if init and not is_sidecar(spec) and not view.starting_anew and is_initialized(view):
            _forgotten(previous, result)
        else:
            _never_seen(view, spec, previous, result)
        return result
    # What it runs, not what a changed spec asks for.
    result.image = with_tag(container.image or spec.image)
    result.restart_count = container.attempt
    result.image_id = container.image_id
    result.container_id = f"{view.scheme}://{container.id}"
    _tell_resources(view, spec, container, result)
    if container.identity is not None:
        known = container.identity
        groups = (known.gid, *known.groups)
        result.user.linux.MergeFrom(core.LinuxContainerUser(uid=known.uid, gid=known.gid, supplemental_groups=groups))
    if container.stop_signal:
        result.stop_signal = container.stop_signal
    earlier = _attempt(view.observation, spec.name, container.attempt - 1)
    if earlier is not None and earlier.state == EXITED:
        result.last_state.terminated.CopyFrom(_terminated(view, earlier))
    elif previous is not None and container.attempt - previous.restart_count in (0, 1):
        _keep_last_state(previous, result)
    if container.state == RUNNING:
        _running(view, spec, container, result, init=init)
    else:
        _exited(view, spec, container, result, init=init)
    return result


def _tell_resources(view: StatusView, spec: core.Container, container: Container, result: core.ContainerStatus) -> None:
    """What it was granted, and what it has."""
    for name, amount in spec.resources.requests.items():
        result.allocated_resources[name].CopyFrom(amount)
    actual, alone = container.limits if container.state == RUNNING else None, spec.name in view.facts.cpus.alone
    result.resources.CopyFrom(told_resources(spec.resources, actual, view.pod.spec, alone=alone))


def ephemeral_status(view: StatusView, spec: core.Container) -> core.ContainerStatus:
    """That of a container without probes, on which nobody waits."""
    result = container_status(view, spec, init=False)
    result.ClearField("started")
    result.ready = False
    return result


def end_waiting(pod: core.Pod, status: core.PodStatus) -> None:
    """Nothing waits in a pod that is over: what never came to start counts as failed. Those of which nobody knows that it was their
    turn are left as they are: app containers behind init containers, and these behind one another."""
    inits = status.init_container_statuses
    tried = max((number for number, found in enumerate(inits) if _was_tried(found)), default=0)
    waiting = list(inits[: tried + 1])
    if not inits or _has_initialized(pod, status):
        waiting += status.container_statuses
    for found in waiting:
        if found.state.HasField("waiting"):
            found.state.CopyFrom(core.ContainerState(terminated=_lost("", NOT_FOUND)))


def _was_tried(found: core.ContainerStatus) -> bool:
    return not found.state.HasField("waiting") or found.last_state.HasField("terminated")


def _has_initialized(pod: core.Pod, status: core.PodStatus) -> bool:
    last = status.init_container_statuses[-1]
    if is_sidecar(pod.spec.init_containers[-1]):
        done = last.started
    else:
        done = any(state.HasField("terminated") and not state.terminated.exit_code for state in (last.state, last.last_state))
    return done or any(map(_was_tried, status.container_statuses))


def _latest_started(observation: PodObservation, name: str) -> Container | None:
    """One that is made and not started yet is no state of its own: that of its predecessor holds on."""
    return max((c for c in observation.containers if c.name == name and c.state != CREATED), key=lambda c: c.attempt, default=None)


def _running(view: StatusView, spec: core.Container, container: Container, result: core.ContainerStatus, *, init: bool) -> None:
    result.state.running.SetInParent()
    if container.started_at is not None:
        result.state.running.started_at.CopyFrom(to_time(container.started_at))
    result.started = is_started(spec, container, view.facts)
    result.ready = is_ready(spec, container, view.facts) and not (init and not is_sidecar(spec))


def _exited(view: StatusView, spec: core.Container, container: Container, result: core.ContainerStatus, *, init: bool) -> None:
    """One that waits for its next start shows how it ended as its last state."""
    waiting = view.waiting.get(spec.name)
    terminated = _terminated(view, container)
    if waiting is not None:
        result.last_state.terminated.CopyFrom(terminated)
        _wait(result, waiting)
    else:
        result.state.terminated.CopyFrom(terminated)
    result.ready = init and not is_sidecar(spec) and container.exit_code == 0


def _wait(result: core.ContainerStatus, waiting: Waiting) -> None:
    result.state.waiting.CopyFrom(core.ContainerStateWaiting(reason=waiting.reason, message=waiting.message))


def _never_seen(view: StatusView, spec: core.Container, previous: core.ContainerStatus | None, result: core.ContainerStatus) -> None:
    """The engine has no such container: not made yet, or removed behind our back."""
    ended = previous is not None and (previous.state.HasField("terminated") or previous.state.HasField("running"))
    over = view.facts.verdict is not None or view.facts.gone or is_finished(view.pod)
    if previous is not None and ended and (over or is_deleting(view.pod)):
        result.CopyFrom(previous)
        result.ready, result.started = False, False
        if previous.state.HasField("running"):
            result.state.Clear()
            result.state.terminated.CopyFrom(_lost(previous.container_id, NOT_FOUND))
        return
    if previous is not None and view.starting_anew and not previous.state.HasField("waiting"):
        _removed(previous, result)
        return
    if previous is not None:
        result.restart_count = previous.restart_count
        _keep_last_state(previous, result)
        if previous.state.HasField("terminated"):
            result.last_state.terminated.CopyFrom(previous.state.terminated)
        elif previous.state.HasField("running"):
            result.last_state.terminated.CopyFrom(_lost(previous.container_id))
    _wait(result, view.waiting.get(spec.name) or Waiting("PodInitializing" if view.pod.spec.init_containers else "ContainerCreating"))


def _forgotten(previous: core.ContainerStatus | None, result: core.ContainerStatus) -> None:
    """An init container that somebody removed from the engine while the app containers run: it has ended well, else they would not."""
    if previous is not None:
        result.CopyFrom(previous)
    if not result.state.HasField("terminated"):
        result.state.Clear()
        result.state.terminated.reason = "Completed"
        result.state.terminated.message = (
            "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally"
        )
    result.ready, result.started = True, False


def is_initialized(view: StatusView) -> bool:
    """Whether app containers were made in the sandbox that there is."""
    sandbox = view.observation.sandbox
    made = (view.observation.latest(spec.name) for spec in view.pod.spec.containers)
    return sandbox is not None and any(found is not None and found.sandbox_attempt == sandbox.attempt for found in made)


def _removed(previous: core.ContainerStatus, result: core.ContainerStatus) -> None:
    """The whole pod starts anew: its predecessor was removed for it, and the next one counts already."""
    message = "The container is removed because RestartAllContainers in place"
    result.restart_count = previous.restart_count + 1
    result.last_state.terminated.exit_code = LOST_EXIT_CODE
    result.last_state.terminated.reason, result.last_state.terminated.message = RESTARTING_ALL, message
    _wait(result, Waiting(RESTARTING_ALL, message))


def _lost(container_id: str, message: str = LOST) -> core.ContainerStateTerminated:
    """How a container ended that ran when it was last seen."""
    return core.ContainerStateTerminated(
        exit_code=LOST_EXIT_CODE, reason="ContainerStatusUnknown", message=message, container_id=container_id
    )


def _terminated(view: StatusView, container: Container) -> core.ContainerStateTerminated:
    reason = "Completed" if container.exit_code == 0 else "Error"
    known = view.facts.containers.get(container.id)
    if container.oom_killed or (known is not None and known.oom_killed):
        reason = OOM_KILLED
    elif container.error:
        reason = "StartError"
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
    return next((status for status in container_statuses(pod.status) if status.name == name), None)


def _attempt(observation: PodObservation, name: str, attempt: int) -> Container | None:
    return next((c for c in observation.containers if c.name == name and c.attempt == attempt), None)
