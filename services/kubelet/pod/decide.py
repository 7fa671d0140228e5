"""The kubelet's heart: pod, observation and facts in, typed actions out. No I/O, no clock.

Called after every change; it answers what is to be done now, what each container waits for and
when to look again. An action whose target is busy is left out: the worker calls again when done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import is_deleting
from knarr.objects.pods import container_statuses, ephemeral_containers, init_and_main_containers, is_finished, is_sidecar
from knarr.objects.restarts import NEVER, policy_of
from services.kubelet.cgroups.values import widest
from services.kubelet.pod.actions import (
    GROUP,
    RESTARTING_ALL,
    SANDBOX,
    VOLUMES,
    CreateSandbox,
    Decision,
    HoldPod,
    KillContainer,
    PinContainer,
    PrepareVolumes,
    RemoveContainers,
    RemoveSandboxes,
    ResizeContainer,
    RunPostStart,
    StartContainer,
    Waiting,
    action_key,
)
from services.kubelet.pod.allocation import is_resizing, restarts_for
from services.kubelet.pod.facts import FAILURE_SHOWN, ContainerFacts, PodFacts, StartFailure, wait_until
from services.kubelet.pod.group import group_limits
from services.kubelet.pod.phase import has_finished, restarts, starts_anew
from services.kubelet.pod.readiness import is_started
from services.kubelet.pod.resources import differs, resource_limits
from services.kubelet.pod.spec import container_hash, describe
from services.kubelet.pod.stopping import MINIMUM_GRACE_SECONDS, stop, termination_grace_seconds
from services.kubelet.pod.view import PodView
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, Container, PodObservation, Sandbox


def decide(pod: core.Pod, observation: PodObservation, facts: PodFacts, now: datetime) -> Decision:
    """What is to be done about a pod now."""
    view, decision = PodView(pod, observation, facts, now), Decision()
    deadline = deadline_of(pod)
    if facts.gone or is_deleting(pod):
        stop(view, decision, remove=True)
    elif facts.verdict is not None or is_finished(pod) or has_finished(pod, observation, facts):
        stop(view, decision, remove=False)
    else:
        _run(view, decision)
        if deadline is not None:
            decision.wake(deadline)
    _pin(view, decision)
    decision.actions = [action for action in decision.actions if action_key(action) not in facts.busy]
    return decision


def deadline_of(pod: core.Pod) -> datetime | None:
    """When activeDeadlineSeconds ends the pod; None: never, or not started."""
    if not pod.spec.HasField("active_deadline_seconds") or not pod.status.HasField("start_time"):
        return None
    started = datetime.fromtimestamp(pod.status.start_time.seconds, tz=UTC)
    return started + timedelta(seconds=pod.spec.active_deadline_seconds)


def _run(view: PodView, decision: Decision) -> None:
    decision.activity = "running"
    sandbox = view.observation.sandbox
    if not view.facts.volumes_ready:
        decision.activity = "preparing volumes"
        _prepare_volumes(view, decision)
        return
    if view.facts.volumes_stale:
        _prepare_volumes(view, decision)
    if sandbox is None or not sandbox.ready:
        _renew_sandbox(view, decision)
        return
    # Made by a call that came true after it had been given up: the pod has another one by now.
    if strays := tuple(found for found in view.observation.sandboxes if found.id != sandbox.id):
        decision.actions.append(RemoveSandboxes(strays))
    # Of a start that was under way while the sandbox was made anew: what runs where the pod is no more.
    if lost := [found for found in view.observation.containers if found.state == RUNNING and found.sandbox_attempt != sandbox.attempt]:
        decision.activity = "ending what an older sandbox has"
        _end_lost(view, lost, decision)
        return
    if sources := starts_anew(view.pod, view.observation):
        _start_anew(view, sources, decision)
        return
    _hold(view, decision)
    # Also while init containers fail: to see why is what they are for.
    _run_ephemeral(view, decision)
    if _run_init(view, sandbox, decision):
        for spec in view.pod.spec.containers:
            _run_container(view, spec, decision)
        garbage = _garbage(view.observation)
        if garbage:
            decision.actions.append(RemoveContainers(garbage))


def _hold(view: PodView, decision: Decision) -> None:
    """Lets the pod as a whole have what it was granted: before its containers get more, and not before they have less."""
    if not view.facts.grouped:
        return
    held, wanted = view.facts.held, group_limits(view.pod, view.facts)
    if held is not None and is_resizing(view.pod, view.observation, view.facts.cpus.alone):
        wanted = widest(held, wanted)
    if held != wanted and not _waits(view.facts.resize_failures.get(GROUP), view, decision):
        decision.actions.append(HoldPod(wanted))


def _waits(failure: StartFailure | None, view: PodView, decision: Decision) -> bool:
    """Whether what failed is not tried again yet; if so, somebody looks again when it is."""
    if failure is None or not failure.waits(view.now):
        return False
    decision.wake(failure.retry_at)
    return True


def _prepare_volumes(view: PodView, decision: Decision) -> None:
    if not _waits(view.facts.failures.get(VOLUMES), view, decision):
        decision.actions.append(PrepareVolumes())


def _renew_sandbox(view: PodView, decision: Decision) -> None:
    """The sandbox is missing or dead: what ran in it ends, then a new one is made."""
    decision.activity = "creating sandbox"
    observation = view.observation
    running = [container for container in observation.containers if container.state == RUNNING]
    if running:
        _end_lost(view, running, decision)
    elif observation.sandboxes:
        decision.actions.append(RemoveSandboxes(observation.sandboxes, changed=True))
    elif not _waits(view.facts.failures.get(SANDBOX), view, decision):
        attempts = [container.sandbox_attempt for container in observation.containers]
        decision.actions.append(CreateSandbox(max(attempts, default=-1) + 1))


def _end_lost(view: PodView, lost: Sequence[Container], decision: Decision) -> None:
    """Containers whose sandbox is no more the pod's end soon: whom they served does not reach them."""
    specs = {spec.name: spec for spec in init_and_main_containers(view.pod.spec)}
    for container in lost:
        message = f"Stopping container {container.name}"
        decision.actions.append(KillContainer(specs.get(container.name), container, MINIMUM_GRACE_SECONDS, message))


def _start_anew(view: PodView, sources: Sequence[Container], decision: Decision) -> None:
    """All containers end at once, without their hooks, and go: what caused it last, so that a kubelet that comes meanwhile goes on."""
    decision.activity = "restarting all containers"
    grace = termination_grace_seconds(view.pod)
    observation, names = view.observation, {spec.name for spec in init_and_main_containers(view.pod.spec)}
    running = [container for container in observation.containers if container.state == RUNNING]
    decision.actions += [KillContainer(None, container, grace, f"Stopping container {container.name}") for container in running]
    if running or view.facts.busy:
        return
    if _waits_to_start_anew(view, sources, decision):
        return
    causes = {source.id for source in sources}
    ended = sorted((c for c in observation.containers if c.name in names), key=lambda container: container.id in causes)
    decision.actions.append(RemoveContainers(tuple(ended), tuple(sources)))


def _waits_to_start_anew(view: PodView, sources: Sequence[Container], decision: Decision) -> bool:
    """Whether one of the containers for whose end the pod starts anew has ended too often for that to be now."""
    for source in sources:
        _back_off(view, source, decision)
    return any(source.name in decision.waiting for source in sources)


def _run_init(view: PodView, sandbox: Sandbox, decision: Decision) -> bool:
    """Takes care of the init containers; True when the app containers may run."""
    pod, observation, facts = view.pod, view.observation, view.facts
    apps_begun = any((c := observation.latest(spec.name)) and c.sandbox_attempt == sandbox.attempt for spec in pod.spec.containers)
    for spec in pod.spec.init_containers:
        container = observation.latest(spec.name)
        current = container is not None and container.sandbox_attempt == sandbox.attempt
        if is_sidecar(spec):
            _run_container(view, spec, decision)
            running = current and container is not None and container.state == RUNNING
            if not apps_begun and not (running and container is not None and is_started(spec, container, facts)):
                decision.activity = f"initializing: {spec.name}"
                return False
        elif not apps_begun and not (current and container is not None and container.state == EXITED and container.exit_code == 0):
            decision.activity = f"initializing: {spec.name}"
            _run_container(view, spec, decision, again=not current)
            return False
    return True


def _run_ephemeral(view: PodView, decision: Decision) -> None:
    """Each is started once, in whichever sandbox there is, and never again."""
    for spec in ephemeral_containers(view.pod.spec):
        container = view.observation.latest(spec.name)
        if container is not None and _is_stranded(view, container):
            decision.actions.append(RemoveContainers((container,)))
        elif container is None or container.state == CREATED:
            _start(view, spec, 0, None, decision)


def _run_container(view: PodView, spec: core.Container, decision: Decision, *, again: bool = False) -> None:
    """``again``: an init container that ended well runs once more, in a new sandbox."""
    container = view.observation.latest(spec.name)
    if container is None:
        _start(view, spec, _first_attempt(view.pod, spec), None, decision)
    elif _is_stranded(view, container):
        decision.actions.append(RemoveContainers((container,)))
    elif container.state == CREATED:
        _start(view, spec, container.attempt, None, decision)
    elif container.state == RUNNING:
        _watch(view, spec, container, decision)
    elif again or restarts(view.pod, spec, container, view.facts):
        _restart(view, spec, container, decision)


def _is_stranded(view: PodView, container: Container) -> bool:
    """Whether it was made in a sandbox that died before it was started: there it cannot run any more."""
    sandbox = view.observation.sandbox
    return container.state == CREATED and sandbox is not None and container.sandbox_attempt != sandbox.attempt


def _restart(view: PodView, spec: core.Container, container: Container, decision: Decision) -> None:
    """Starts the successor of a container that exited, when its back-off is over."""
    if container.spec_hash != container_hash(spec) or not _back_off(view, container, decision):
        if failure := _start_failure(container, view.facts):
            decision.waiting[spec.name] = failure
        _start(view, spec, container.attempt + 1, container, decision)


def _back_off(view: PodView, container: Container, decision: Decision) -> bool:
    """Whether what follows on the end of a container has to wait, which its status then tells."""
    backoff = view.facts.crash.get(container.name)
    until = wait_until(backoff, container.finished_at or view.now, view.now)
    if until is None or backoff is None:
        return False
    message = f"back-off {_go_duration(backoff.delay)} restarting failed container={container.name} pod={describe(view.pod)}"
    decision.waiting[container.name] = Waiting("CrashLoopBackOff", message)
    decision.wake(until)
    return True


def _first_attempt(pod: core.Pod, spec: core.Container) -> int:
    """Of a container that the engine does not know: one that ran before and was lost with the engine's state counts on."""
    previous = next((status for status in container_statuses(pod.status) if status.name == spec.name), None)
    if previous is None:
        return 0
    if previous.state.HasField("waiting") and previous.last_state.terminated.reason == RESTARTING_ALL:
        # It was counted when its predecessor was removed.
        return int(previous.restart_count)
    ran = previous.container_id or previous.last_state.HasField("terminated")
    return int(previous.restart_count) + (1 if ran else 0)


def _start_failure(container: Container, facts: PodFacts) -> Waiting | None:
    """Why a container that was made did not come to run, in the words of one that waits for its next start; None: it ran."""
    known = facts.containers.get(container.id)
    if container.error:
        return Waiting("RunContainerError", container.error)
    return Waiting("PostStartHookError", known.hook_failure) if known is not None and known.hook_failure else None


def _start(view: PodView, spec: core.Container, attempt: int, after: Container | None, decision: Decision) -> None:
    failure = view.facts.failures.get(spec.name)
    if failure is None or not failure.waits(view.now):
        decision.actions.append(StartContainer(spec, attempt, after))
        if failure is not None:
            decision.waiting[spec.name] = Waiting(failure.reason, failure.message)
        return
    shown_until = failure.failed_at + FAILURE_SHOWN
    if failure.backoff_reason and view.now >= shown_until:
        decision.waiting[spec.name] = Waiting(failure.backoff_reason, failure.backoff_message)
    else:
        decision.waiting[spec.name] = Waiting(failure.reason, failure.message)
        if failure.backoff_reason:
            decision.wake(shown_until)
    decision.wake(failure.retry_at)


def _watch(view: PodView, spec: core.Container, container: Container, decision: Decision) -> None:
    """A container that runs: postStart, probes, a changed definition."""
    known = view.facts.containers.get(container.id) or ContainerFacts()
    grace = termination_grace_seconds(view.pod)
    if known.unhealthy:
        own = grace if known.grace_seconds is None else known.grace_seconds
        again = not known.hook_failure and policy_of(spec, view.pod.spec.restart_policy) != NEVER
        message = f"{known.unhealthy}, will be restarted" if again else known.unhealthy
        decision.actions.append(KillContainer(spec, container, own, message, again=again))
    elif container.spec_hash != container_hash(spec):
        message = f"Container {spec.name} definition changed, will be restarted"
        decision.actions.append(KillContainer(spec, container, grace, message, again=True))
    elif spec.lifecycle.HasField("post_start") and not known.post_start_done:
        decision.actions.append(RunPostStart(spec, container))
    else:
        _resize(view, spec, container, grace, decision)


def _resize(view: PodView, spec: core.Container, container: Container, grace: float, decision: Decision) -> None:
    """A container that runs with other amounts than it was granted: it is told them, or started anew where it asks for that."""
    alone = spec.name in view.facts.cpus.alone
    actual, wanted = container.limits, resource_limits(spec.resources, view.pod.spec, alone=alone)
    if actual is None or not differs(actual, wanted):
        return
    held = view.facts.held
    if held is not None and widest(held, group_limits(view.pod, view.facts)) != held:
        # There is not room in the pod for it yet.
        return
    memory = actual.memory_bytes != wanted.memory_bytes
    if restarts_for(spec, cpu=differs(replace(actual, memory_bytes=wanted.memory_bytes), wanted), memory=memory):
        message = f"Container {spec.name} resize requires restart"
        decision.actions.append(KillContainer(spec, container, grace, message, again=True))
        return
    if not _waits(view.facts.resize_failures.get(spec.name), view, decision):
        swap = view.facts.swap.of(view.pod, spec)
        decision.actions.append(ResizeContainer(spec, container, replace(wanted, swap_bytes=swap)))


def _pin(view: PodView, decision: Decision) -> None:
    """All that runs of a pod, also what is being stopped, keeps away from processors that others have alone."""
    for container in view.observation.containers:
        cpuset = view.facts.cpus.of(container.name)
        if not cpuset or container.state != RUNNING or container.limits is None or container.limits.cpuset == cpuset:
            continue
        if not _waits(view.facts.pin_failures.get(container.name), view, decision):
            decision.actions.append(PinContainer(container, cpuset))


def _garbage(observation: PodObservation) -> tuple[Container, ...]:
    """Dead containers but the last one of each name (and the one that runs): they serve ``logs --previous``."""
    kept: dict[str, list[Container]] = {}
    for container in sorted(observation.containers, key=lambda c: c.attempt, reverse=True):
        kept.setdefault(container.name, []).append(container)
    return tuple(c for group in kept.values() for c in group[2:] if c.state == EXITED)


def _go_duration(delay: timedelta) -> str:
    """As Kubernetes writes it: ``10s``, ``1m20s``, ``5m0s``."""
    minutes, seconds = divmod(int(delay.total_seconds()), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
