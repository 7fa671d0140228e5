"""One pod's worker: asks the heart what to do, does it, tells the status. The only one that touches the pod.

Each action runs as a task of its own, at most one per container and one for the sandbox, so that
a slow stop or pull holds up nothing else. Every end of a task, every change of the pod and every
event of the engine wakes the worker, which looks at everything anew.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import StatusError
from knarr.objects.copies import copy_of
from knarr.objects.pods import init_and_main_containers, is_finished
from knarr.service.tasks import cancel
from services.kubelet.container.hooks import HookRunner
from services.kubelet.container.probes import Prober
from services.kubelet.container.starter import ContainerStarter, back_off_message
from services.kubelet.container.termination import termination_message
from services.kubelet.metrics import ACTION_SECONDS, ACTIONS
from services.kubelet.pod.actions import (
    VOLUMES,
    Action,
    CleanUp,
    CreateSandbox,
    Decision,
    KillContainer,
    PrepareVolumes,
    RemoveContainers,
    RemoveSandboxes,
    RunPostStart,
    StartContainer,
    action_key,
)
from services.kubelet.pod.context import NodeContext
from services.kubelet.pod.decide import deadline_of, decide
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.pod.facts import PodFacts
from services.kubelet.pod.sandbox import SandboxMaker
from services.kubelet.pod.spec import ref_of
from services.kubelet.pod.status import pod_status
from services.kubelet.pod.status_writer import StatusWriter
from services.kubelet.pod.stopping import MINIMUM_GRACE_SECONDS, stop_grace_seconds
from services.kubelet.pod.view import StatusView
from services.kubelet.runtime.port import EXITED, PodObservation, RuntimeFailure, RuntimeUnavailable

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


class PodWorker:
    """Runs one pod from its first sight to its last trace."""

    def __init__(self, pod: core.Pod, context: NodeContext, *, gone: bool = False) -> None:
        self._context = context
        self._latest = pod
        self._pod = _copy(pod)
        self._ref = ref_of(pod)
        self.facts = PodFacts(context.clock.now(), gone=gone)
        self.activity = "new"
        self._wake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, float] = {}
        self._directory = PodDirectory(context.settings.data_dir, self._ref.uid)
        self._writer = StatusWriter(context.client, lambda: self._latest)
        self._prober = Prober(context.runtime, context.clock, self.facts, self.wake, self._event)
        self._starter = ContainerStarter(context, self.facts, self._directory, self._container_event)
        self._sandboxes = SandboxMaker(context, self.facts, self._directory, self._event)
        self._hooks = HookRunner(context.runtime, self._container_event)
        self._told: dict[str, str] = {}

    @property
    def pod(self) -> core.Pod:
        """The pod with the status as the kubelet knows it now."""
        return self._pod

    def update(self, pod: core.Pod | None) -> None:
        """The pod changed in the API; None: it is gone."""
        if pod is None:
            self.facts.gone = True
        else:
            self._latest = pod
            self._pod = _copy(pod, self._pod.status if self._pod.status.HasField("start_time") else None)
        self.wake()

    def refuse(self, reason: str, message: str) -> None:
        """The node does not take the pod: it fails, and nothing of it is ever made."""
        self.facts.refused = True
        self.facts.verdict = (reason, f"Pod was rejected: {message}")
        self._event("Warning", reason, message)
        self.wake()

    def wake(self) -> None:
        """Look again."""
        self._wake.set()

    def refresh_volumes(self) -> None:
        """Something the volumes show has changed."""
        if self.facts.volumes_ready:
            self._begin(PrepareVolumes())
        else:
            self.facts.failures.pop(VOLUMES, None)
        for name, failure in list(self.facts.failures.items()):
            if failure.reason == "CreateContainerConfigError":
                del self.facts.failures[name]
        self.wake()

    async def run(self) -> None:
        """Until nothing of the pod is left on the node and in the API."""
        try:
            while not await self._step():
                pass
        finally:
            await self._prober.close()
            await cancel(self._tasks.values())
            await self._writer.close()

    async def _step(self) -> bool:
        """One look; True when the pod is done with."""
        self._wake.clear()
        now = self._context.clock.now()
        observation = self._context.runtime.observe(self._ref.uid) or PodObservation(self._ref)
        await self._note_ends(observation)
        self._check_deadline(now)
        self._hasten(now)
        decision = decide(self._pod, observation, self.facts, now)
        self.activity = decision.activity
        self._tell_waiting(decision, observation)
        self._publish(observation, decision, now)
        stopping = decision.activity in ("stopping", "ended")
        self._prober.follow(self._pod, observation, stopping=stopping)
        for action in decision.actions:
            self._begin(action)
        if decision.done and self.facts.gone:
            return True
        if decision.done and self._pod.metadata.HasField("deletion_timestamp"):
            await self._delete_object()
        await self._rest(decision.wake_at)
        return False

    async def _rest(self, until: datetime | None) -> None:
        if until is None:
            await self._wake.wait()
            return
        seconds = max((until - self._context.clock.now()).total_seconds(), 0.001)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _publish(self, observation: PodObservation, decision: Decision, now: datetime) -> None:
        if self.facts.gone:
            return
        scheme = self._context.runtime.version.partition(":")[0]
        view = StatusView(self._pod, observation, self.facts, now, self._context.settings.node_ip, decision.waiting, scheme)
        status = pod_status(view)
        self._pod.status.CopyFrom(status)
        self._writer.publish(status)

    async def _note_ends(self, observation: PodObservation) -> None:
        for container in observation.containers:
            known = self.facts.of(container.id)
            if container.state == EXITED and known.termination_message is None:
                spec = next((found for found in init_and_main_containers(self._pod.spec) if found.name == container.name), core.Container())
                known.termination_message = await termination_message(self._context.runtime, self._directory, spec, container)
        present = {container.id for container in observation.containers}
        for container_id in self.facts.containers.keys() - present:
            del self.facts.containers[container_id]

    def _check_deadline(self, now: datetime) -> None:
        deadline = deadline_of(self._pod)
        over = self.facts.verdict is not None or is_finished(self._pod)
        if deadline is not None and now >= deadline and not over:
            self._event("Normal", "DeadlineExceeded", DEADLINE_MESSAGE)
            self.facts.verdict = ("DeadlineExceeded", DEADLINE_MESSAGE)

    def _hasten(self, now: datetime) -> None:
        """Gives up what a stop makes pointless, and shortens a stop that is to end sooner now."""
        if not (self.facts.gone or self.facts.verdict or self._pod.metadata.HasField("deletion_timestamp")):
            return
        for name in list(self._starter.pulling | self._hooks.running):
            if name in self._tasks:
                self._tasks[name].cancel()
        deadline = asyncio.get_running_loop().time() + stop_grace_seconds(self._pod, self.facts)
        for name, until in list(self._stops.items()):
            if deadline < until - MINIMUM_GRACE_SECONDS and name in self._tasks:
                self._tasks[name].cancel()

    def _tell_waiting(self, decision: Decision, observation: PodObservation) -> None:
        for name, waiting in decision.waiting.items():
            container = observation.latest(name)
            mark = f"{waiting.reason}/{container.id if container else self.facts.pulls.get(name)}"
            if self._told.get(name) == mark:
                continue
            self._told[name] = mark
            if waiting.reason == "CrashLoopBackOff":
                self._container_event("Warning", "BackOff", back_off_message(self._pod, name), name)
            elif waiting.reason == "ImagePullBackOff":
                image = next(spec.image for spec in init_and_main_containers(self._pod.spec) if spec.name == name)
                self._container_event("Normal", "BackOff", f'Back-off pulling image "{image}"', name)
                self._container_event("Warning", "Failed", "Error: ImagePullBackOff", name)

    def _begin(self, action: Action) -> None:
        key = action_key(action)
        if key in self.facts.busy:
            return
        self.facts.busy.add(key)
        task = asyncio.create_task(self._perform(action), name=f"pod/{self._ref.namespace}/{self._ref.name}{key}")
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
            self.facts.busy.discard(key)
            self._stops.pop(key, None)
        self.wake()

    async def _perform(self, action: Action) -> None:
        name = type(action).__name__
        try:
            with ACTION_SECONDS.labels(name).time():
                await self._do(action)
            ACTIONS.labels(name, "done").inc()
            return
        except RuntimeFailure as error:
            level = logging.INFO if isinstance(error, RuntimeUnavailable) else logging.WARNING
            log.log(level, "action failed", extra={"pod": self._ref.name, "action": name, "error": str(error)})
        except Exception:
            log.exception("action failed", extra={"pod": self._ref.name, "action": name})
        ACTIONS.labels(name, "failed").inc()
        await asyncio.sleep(RETRY_SECONDS)

    async def _do(self, action: Action) -> None:
        runtime = self._context.runtime
        match action:
            case PrepareVolumes():
                await self._sandboxes.prepare(self._pod)
            case CreateSandbox():
                await self._sandboxes.create(self._pod, action.attempt)
            case RemoveSandboxes():
                if action.changed:
                    self._event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
                for sandbox in action.sandboxes:
                    await runtime.remove_sandbox(sandbox)
            case StartContainer():
                await self._start(action)
            case RunPostStart():
                await self._post_start(action)
            case KillContainer():
                await self._kill(action)
            case RemoveContainers():
                if not self.facts.gone:
                    await self._writer.flush()
                for container in action.containers:
                    await runtime.remove_container(container, self._ref)
            case CleanUp():
                await self._context.files.call(self._directory.remove)
                self.facts.volumes_ready = False
                self.facts.cleaned = True

    async def _start(self, action: StartContainer) -> None:
        observation = self._context.runtime.observe(self._ref.uid)
        if observation is not None and observation.sandbox is not None:
            await self._starter.start(self._pod, action, observation.sandbox)

    async def _post_start(self, action: RunPostStart) -> None:
        known = self.facts.of(action.container.id)
        failure = await self._hooks.post_start(action.spec, action.container, self._ip())
        known.post_start_done = True
        if failure:
            known.unhealthy = f"FailedPostStartHook: {failure}"

    async def _kill(self, action: KillContainer) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + action.grace_seconds
        self._stops[action.container.name] = until
        self._container_event("Normal", "Killing", action.message, action.container.name)
        if action.spec is not None and action.spec.lifecycle.HasField("pre_stop"):
            await self._hooks.pre_stop(action.spec, action.container, self._ip(), action.grace_seconds)
        await self._context.runtime.stop_container(action.container, self._ref, max(until - loop.time(), MINIMUM_GRACE_SECONDS))

    def _ip(self) -> str:
        observation = self._context.runtime.observe(self._ref.uid)
        return (observation.sandbox.ip if observation and observation.sandbox else "") or self._context.settings.node_ip

    async def _delete_object(self) -> None:
        """The last act: the final status is written, then the object goes."""
        await self._writer.flush()
        metadata = self._pod.metadata
        try:
            await self._context.client.delete(core.Pod, metadata.name, metadata.namespace, grace_period_seconds=0, uid=metadata.uid)
        except StatusError as error:
            if error.reason not in ("NotFound", "Conflict"):
                log.warning("pod not deleted", extra={"pod": metadata.name, "error": str(error)})
                await self._rest(self._context.clock.now() + timedelta(seconds=RETRY_SECONDS))
                return
        self.facts.gone = True
        self.wake()

    def _event(self, event_type: str, reason: str, message: str) -> None:
        if not self.facts.gone:
            self._context.recorder.event(self._latest, event_type, reason, message)

    def _container_event(self, event_type: str, reason: str, message: str, container: str) -> None:
        if not self.facts.gone:
            kind = "initContainers" if any(spec.name == container for spec in self._latest.spec.init_containers) else "containers"
            path = f"spec.{kind}{{{container}}}"
            self._context.recorder.event(self._latest, event_type, reason, message, field_path=path)


def _copy(pod: core.Pod, status: core.PodStatus | None = None) -> core.Pod:
    """A pod of one's own. ``status``: what the kubelet knows better; conditions of others are taken from the pod."""
    result = copy_of(pod)
    if status is not None:
        result.status.CopyFrom(status)
        own = {condition.type for condition in status.conditions}
        result.status.conditions.extend(condition for condition in pod.status.conditions if condition.type not in own)
        result.status.nominated_node_name = pod.status.nominated_node_name
    return result
