"""The kubelet's heart: pod, observation and facts in, typed actions out. No I/O, no clock.

Called after every change; it answers what is to be done now, what each container waits for and
when to look again. An action whose target is busy is left out: the worker calls again when done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import init_and_main_containers, is_deleting, is_finished, is_sidecar
from services.kubelet.pod.facts import FAILURE_SHOWN, ContainerFacts, PodFacts, wait_until
from services.kubelet.pod.phase import has_finished, restarts
from services.kubelet.pod.spec import container_hash
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, Container, PodObservation, Sandbox

SANDBOX, VOLUMES, CLEANUP = "/sandbox", "/volumes", "/cleanup"
MINIMUM_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PrepareVolumes:
    """Make the pod's directories and volumes."""


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    """Make the pod's sandbox."""

    attempt: int


@dataclass(frozen=True, slots=True)
class RemoveSandboxes:
    """End and remove the pod's sandboxes. ``changed``: to make a new one."""

    sandboxes: tuple[Sandbox, ...]
    changed: bool = False


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Fetch the image if need be, create and start. ``after`` is the exited container it replaces."""

    spec: core.Container
    attempt: int
    after: Container | None = None


@dataclass(frozen=True, slots=True)
class RunPostStart:
    """Run the postStart hook of a container that runs now."""

    spec: core.Container
    container: Container


@dataclass(frozen=True, slots=True)
class KillContainer:
    """Run preStop, stop signal, SIGKILL after the grace. ``message`` is the Killing event's."""

    spec: core.Container | None
    container: Container
    grace_seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class RemoveContainers:
    """Remove dead containers that nobody needs any more."""

    containers: tuple[Container, ...]


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Nothing runs and nothing is left in the engine: drop the volumes and directories."""


Action = PrepareVolumes | CreateSandbox | RemoveSandboxes | StartContainer | RunPostStart | KillContainer | RemoveContainers | CleanUp


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run, as its status says it."""

    reason: str
    message: str = ""


@dataclass(slots=True)
class Decision:
    """``wake_at``: look again then at the latest. ``done``: the pod needs nothing more, ever."""

    actions: list[Action] = field(default_factory=list)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    wake_at: datetime | None = None
    activity: str = ""
    done: bool = False

    def wake(self, at: datetime) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


def action_key(action: Action) -> str:
    """What an action occupies: one action per key runs at a time."""
    if isinstance(action, StartContainer | RunPostStart):
        return action.spec.name
    if isinstance(action, KillContainer):
        return action.container.name
    if isinstance(action, PrepareVolumes):
        return VOLUMES
    return SANDBOX if isinstance(action, CreateSandbox | RemoveSandboxes) else CLEANUP


def decide(pod: core.Pod, observation: PodObservation, facts: PodFacts, now: datetime) -> Decision:
    """What is to be done about a pod now."""
    decision = Decision()
    deadline = deadline_of(pod)
    if facts.gone or is_deleting(pod):
        _stop(pod, observation, facts, decision, remove=True)
    elif facts.verdict is not None or is_finished(pod) or has_finished(pod, observation):
        _stop(pod, observation, facts, decision, remove=False)
    else:
        _run(pod, observation, facts, now, decision)
        if deadline is not None:
            decision.wake(deadline)
    decision.actions = [action for action in decision.actions if action_key(action) not in facts.busy]
    return decision


def deadline_of(pod: core.Pod) -> datetime | None:
    """When activeDeadlineSeconds ends the pod; None: never, or not started."""
    if not pod.spec.HasField("active_deadline_seconds") or not pod.status.HasField("start_time"):
        return None
    started = datetime.fromtimestamp(pod.status.start_time.seconds, tz=UTC)
    return started + timedelta(seconds=pod.spec.active_deadline_seconds)


def stop_grace_seconds(pod: core.Pod, facts: PodFacts) -> float:
    """How long the containers of a pod that is to end may take."""
    if facts.grace_seconds is not None:
        return facts.grace_seconds
    if facts.gone:
        return MINIMUM_GRACE_SECONDS
    if pod.metadata.HasField("deletion_grace_period_seconds"):
        return max(float(pod.metadata.deletion_grace_period_seconds), MINIMUM_GRACE_SECONDS)
    return float(pod.spec.termination_grace_period_seconds) if pod.spec.HasField("termination_grace_period_seconds") else 30.0


def _stop(pod: core.Pod, observation: PodObservation, facts: PodFacts, decision: Decision, *, remove: bool) -> None:
    decision.activity = "stopping"
    running = [container for container in observation.containers if container.state == RUNNING]
    grace = stop_grace_seconds(pod, facts)
    specs = {spec.name: spec for spec in init_and_main_containers(pod.spec)}
    sidecars = [spec.name for spec in pod.spec.init_containers if is_sidecar(spec)]
    first = [container for container in running if container.name not in sidecars]
    if not first:
        last = max((sidecars.index(container.name) for container in running), default=-1)
        first = [container for container in running if container.name in sidecars[last : last + 1]]
    decision.actions += [
        KillContainer(specs.get(container.name), container, grace, f"Stopping container {container.name}") for container in first
    ]
    if running or facts.busy - {SANDBOX, CLEANUP}:
        return
    if observation.sandboxes:
        decision.actions.append(RemoveSandboxes(observation.sandboxes))
    elif remove and observation.containers:
        decision.actions.append(RemoveContainers(observation.containers))
    elif facts.busy:
        return
    elif remove and not facts.cleaned:
        decision.actions.append(CleanUp())
    else:
        decision.activity = "ended"
        decision.done = True


def _run(pod: core.Pod, observation: PodObservation, facts: PodFacts, now: datetime, decision: Decision) -> None:
    decision.activity = "running"
    sandbox = observation.sandbox
    if not facts.volumes_ready:
        decision.activity = "preparing volumes"
        failure = facts.failures.get(VOLUMES)
        if failure is None or now >= failure.retry_at:
            decision.actions.append(PrepareVolumes())
        else:
            decision.wake(failure.retry_at)
        return
    if sandbox is None or not sandbox.ready:
        _renew_sandbox(pod, observation, facts, now, decision)
        return
    if not _run_init(pod, observation, facts, now, sandbox, decision):
        return
    for spec in pod.spec.containers:
        _run_container(pod, spec, observation, facts, now, decision)
    garbage = _garbage(observation)
    if garbage:
        decision.actions.append(RemoveContainers(garbage))


def _renew_sandbox(pod: core.Pod, observation: PodObservation, facts: PodFacts, now: datetime, decision: Decision) -> None:
    """The sandbox is missing or dead: what ran in it ends, then a new one is made."""
    decision.activity = "creating sandbox"
    running = [container for container in observation.containers if container.state == RUNNING]
    specs = {spec.name: spec for spec in init_and_main_containers(pod.spec)}
    if running:
        message = "Pod sandbox changed, it will be killed and re-created."
        decision.actions += [KillContainer(specs.get(c.name), c, MINIMUM_GRACE_SECONDS, message) for c in running]
    elif observation.sandboxes:
        decision.actions.append(RemoveSandboxes(observation.sandboxes, changed=True))
    else:
        failure = facts.failures.get(SANDBOX)
        if failure is not None and now < failure.retry_at:
            decision.wake(failure.retry_at)
            return
        attempts = [container.sandbox_attempt for container in observation.containers]
        decision.actions.append(CreateSandbox(max(attempts, default=-1) + 1))


def _run_init(pod: core.Pod, observation: PodObservation, facts: PodFacts, now: datetime, sandbox: Sandbox, decision: Decision) -> bool:
    """Takes care of the init containers; True when the app containers may run."""
    apps_begun = any((c := observation.latest(spec.name)) and c.sandbox_attempt == sandbox.attempt for spec in pod.spec.containers)
    for spec in pod.spec.init_containers:
        container = observation.latest(spec.name)
        current = container is not None and container.sandbox_attempt == sandbox.attempt
        if is_sidecar(spec):
            _run_container(pod, spec, observation, facts, now, decision)
            running = current and container is not None and container.state == RUNNING
            if not apps_begun and not (running and container is not None and is_started(spec, container, facts)):
                decision.activity = f"initializing: {spec.name}"
                return False
        elif not apps_begun and not (current and container is not None and container.state == EXITED and container.exit_code == 0):
            decision.activity = f"initializing: {spec.name}"
            _run_container(pod, spec, observation, facts, now, decision, again=not current)
            return False
    return True


def _run_container(
    pod: core.Pod,
    spec: core.Container,
    observation: PodObservation,
    facts: PodFacts,
    now: datetime,
    decision: Decision,
    *,
    again: bool = False,
) -> None:
    """``again``: an init container that ended well runs once more, in a new sandbox."""
    container = observation.latest(spec.name)
    if container is None:
        _start(spec, _first_attempt(pod, spec), None, facts, now, decision)
    elif container.state == CREATED:
        _start(spec, container.attempt, None, facts, now, decision)
    elif container.state == RUNNING:
        _watch(pod, spec, container, facts, decision)
    elif again or restarts(pod, spec, container):
        finished = container.finished_at or now
        until = wait_until(facts.crash.get(spec.name), finished, now)
        if until is None:
            _start(spec, container.attempt + 1, container, facts, now, decision)
        else:
            backoff = facts.crash[spec.name]
            name = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
            seconds = _go_duration(backoff.delay)
            message = f"back-off {seconds} restarting failed container={spec.name} pod={name}"
            decision.waiting[spec.name] = Waiting("CrashLoopBackOff", message)
            decision.wake(until)


def _first_attempt(pod: core.Pod, spec: core.Container) -> int:
    """Of a container that the engine does not know: one that ran before and was lost with the engine's state counts on."""
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    previous = next((status for status in statuses if status.name == spec.name), None)
    if previous is None:
        return 0
    ran = previous.container_id or previous.last_state.HasField("terminated")
    return int(previous.restart_count) + (1 if ran else 0)


def _start(spec: core.Container, attempt: int, after: Container | None, facts: PodFacts, now: datetime, decision: Decision) -> None:
    failure = facts.failures.get(spec.name)
    if failure is None or now >= failure.retry_at:
        decision.actions.append(StartContainer(spec, attempt, after))
        if failure is not None:
            decision.waiting[spec.name] = Waiting(failure.reason, failure.message)
        return
    shown_until = failure.failed_at + FAILURE_SHOWN
    if failure.backoff_reason and now >= shown_until:
        decision.waiting[spec.name] = Waiting(failure.backoff_reason, failure.backoff_message)
    else:
        decision.waiting[spec.name] = Waiting(failure.reason, failure.message)
        if failure.backoff_reason:
            decision.wake(shown_until)
    decision.wake(failure.retry_at)


def _watch(pod: core.Pod, spec: core.Container, container: Container, facts: PodFacts, decision: Decision) -> None:
    """A container that runs: postStart, probes, a changed definition."""
    known = facts.containers.get(container.id) or ContainerFacts()
    grace = float(pod.spec.termination_grace_period_seconds) if pod.spec.HasField("termination_grace_period_seconds") else 30.0
    if known.unhealthy:
        decision.actions.append(KillContainer(spec, container, grace, known.unhealthy))
    elif container.spec_hash != container_hash(spec):
        message = f"Container {spec.name} definition changed, will be restarted"
        decision.actions.append(KillContainer(spec, container, grace, message))
    elif spec.lifecycle.HasField("post_start") and not known.post_start_done:
        decision.actions.append(RunPostStart(spec, container))


def is_started(spec: core.Container, container: Container, facts: PodFacts) -> bool:
    """Whether a running container has passed its startup probe and postStart hook."""
    known = facts.containers.get(container.id) or ContainerFacts()
    if spec.lifecycle.HasField("post_start") and not known.post_start_done:
        return False
    return bool(known.started) if spec.HasField("startup_probe") else True


def is_ready(spec: core.Container, container: Container, facts: PodFacts) -> bool:
    """Whether a container answers: it runs, has started and its readiness probe says so."""
    if container.state != RUNNING or not is_started(spec, container, facts):
        return False
    known = facts.containers.get(container.id) or ContainerFacts()
    return bool(known.ready) if spec.HasField("readiness_probe") else True


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
