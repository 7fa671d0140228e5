"""Does what was decided about one pod: at most one action for each container, one for the sandbox, one for the volumes at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.service.tasks import cancel
from services.kubelet.container.hooks import HookRunner
from services.kubelet.container.starter import ContainerStarter
from services.kubelet.csi.client import DriverError
from services.kubelet.metrics import ACTION_SECONDS, ACTIONS
from services.kubelet.pod.actions import (
    GROUP,
    Action,
    CleanUp,
    CreateSandbox,
    HoldPod,
    KillContainer,
    PinContainer,
    PrepareVolumes,
    ReleaseVolumes,
    RemoveContainers,
    RemoveSandboxes,
    ResizeContainer,
    RunPostStart,
    RunPreStop,
    StartContainer,
    action_key,
)
from services.kubelet.pod.context import PodContext
from services.kubelet.pod.facts import StartFailure, next_backoff
from services.kubelet.pod.sandbox import SandboxMaker
from services.kubelet.pod.status_writer import StatusWriter
from services.kubelet.pod.stopping import MINIMUM_GRACE_SECONDS
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
RELEASE_RETRY = Backoff(first_seconds=0.5, limit_seconds=60.0)
RESIZE_RETRY = timedelta(seconds=10)
# How often it is tried, a second apart, to remove a pod's control group and the images that it had as volumes.
LEAVE_TRIES = 10


class ActionRunner:
    """Runs the actions of one pod. What is being done is in ``facts.busy``; every end of an action calls ``wake``."""

    def __init__(self, context: PodContext, pod: Callable[[], core.Pod], writer: StatusWriter, wake: Callable[[], None]) -> None:
        """``pod`` answers the pod with the status as the kubelet knows it."""
        self._context = context
        self._runtime = context.shared.runtime
        self._ref = context.ref
        self._facts = context.facts
        self._events = context.events
        self._pod = pod
        self._writer = writer
        self._wake = wake
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # When the stop of a container ends at the latest, by its name, in the loop's seconds.
        self._stops: dict[str, float] = {}
        self._released_in_vain = self._stayed_in_vain = 0
        self._starter = ContainerStarter(context)
        self._sandboxes = SandboxMaker(context)
        self._hooks = HookRunner(context)

    def begin(self, action: Action) -> None:
        """Starts an action, unless its target is busy."""
        key = action_key(action)
        if key in self._facts.busy:
            return
        self._facts.busy.add(key)
        task = asyncio.create_task(self._perform(action), name=f"pod/{self._ref.namespace}/{self._ref.name}{key}")
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def hasten(self, grace_seconds: float) -> None:
        """Gives up what a stop makes pointless, and shortens a stop that is to end within ``grace_seconds`` now."""
        for name in self._starter.pulling | self._hooks.running:
            if name in self._tasks:
                self._tasks[name].cancel()
        deadline = asyncio.get_running_loop().time() + grace_seconds
        for name, until in list(self._stops.items()):
            if deadline < until - MINIMUM_GRACE_SECONDS and name in self._tasks:
                self._tasks[name].cancel()

    async def close(self) -> None:
        """Gives up everything."""
        await cancel(self._tasks.values())

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
            self._facts.busy.discard(key)
            self._stops.pop(key, None)
        self._wake()

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
        match action:
            case PrepareVolumes():
                await self._sandboxes.prepare(self._pod())
            case CreateSandbox():
                await self._sandboxes.create(self._pod(), action.attempt)
            case RemoveSandboxes():
                if action.changed:
                    self._events.pod("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
                for sandbox in action.sandboxes:
                    await self._runtime.remove_sandbox(sandbox)
            case StartContainer():
                await self._start(action)
            case RunPostStart():
                await self._post_start(action)
            case KillContainer():
                await self._kill(action)
            case RunPreStop():
                await self._pre_stop(action)
            case HoldPod():
                await self._hold(action)
            case ResizeContainer():
                await self._resize(action)
            case PinContainer():
                await self._pin(action)
            case RemoveContainers():
                if not self._facts.gone:
                    await self._writer.flush()
                for container in action.containers:
                    await self._runtime.remove_container(container, self._ref)
                now, crash = self._context.shared.clock.now(), self._facts.crash
                for source in action.anew:
                    crash[source.name] = next_backoff(crash.get(source.name), source.finished_at or now, now)
            case ReleaseVolumes():
                await self._give_up(self._context.directory.remove_volumes)
                self._facts.released = True
            case CleanUp():
                await self._give_up(self._context.directory.remove)
                self._facts.cleaned = True

    async def _give_up(self, remove: Callable[[], None]) -> None:
        """Drivers' volumes, then what ``remove`` removes, then what is kept of images and of groups."""
        await self._release()
        self._facts.volumes_ready = False
        await self._context.shared.files.call(remove)
        await self._leave_node()

    async def _release(self) -> None:
        """What no driver takes back stays, and the pod with it: an unmount by force might lose what was written, a device be another's."""
        try:
            await self._context.shared.drivers.tear_down(self._ref.uid)
            await self._context.shared.devices.tear_down(self._ref.uid)
        except (DriverError, OSError) as error:
            self._released_in_vain += 1
            log.warning("a driver does not take back what it gave", extra={"pod": self._ref.name, "error": str(error)})
            await self._context.shared.drivers.wait_change(RELEASE_RETRY.delay(self._released_in_vain))
            raise RuntimeFailure(str(error)) from error
        self._facts.driven = False

    async def _leave_node(self) -> None:
        """Gives up what the pod had beside its directory. The kernel may still be busy with what ended in its control group, the disk may
        not take a change: it is tried again, some times; what stays then goes when a kubelet begins."""
        shared = self._context.shared
        try:
            if self._runtime.mounts_files:
                # Also where nobody knows of images that it had: the kubelet that laid them may have been killed.
                await shared.image_folders.sweep()
            await shared.groups.remove(self._ref.uid)
        except RuntimeUnavailable:
            raise
        except (RuntimeFailure, OSError) as error:
            self._stayed_in_vain += 1
            if self._stayed_in_vain < LEAVE_TRIES:
                raise RuntimeFailure(f"what the pod had of the node was not removed: {error}") from error
            log.warning("a pod leaves something behind", extra={"pod": self._ref.name, "error": str(error)})
        self._facts.held = None

    async def _start(self, action: StartContainer) -> None:
        observation = self._runtime.observe(self._ref.uid)
        if observation is not None and observation.sandbox is not None:
            await self._starter.start(self._pod(), action, observation.sandbox)

    async def _post_start(self, action: RunPostStart) -> None:
        known = self._facts.of(action.container.id)
        failure = await self._hooks.post_start(action.spec, action.container, self._ip())
        known.post_start_done = True
        if failure:
            known.unhealthy, known.hook_failure = "FailedPostStartHook", failure

    async def _hold(self, action: HoldPod) -> None:
        """As with containers, what the kernel refuses is told and tried again."""
        failures, now = self._facts.resize_failures, self._context.shared.clock.now()
        try:
            await self._context.shared.groups.hold(self._pod(), action.limits)
            self._facts.held = action.limits
            failures.pop(GROUP, None)
        except OSError as error:
            if GROUP not in failures:
                self._events.pod("Warning", "ResizeError", f"Pod resize error: {error}")
            failures[GROUP] = StartFailure("Error", str(error), now, now + RESIZE_RETRY)

    async def _resize(self, action: ResizeContainer) -> None:
        """What the engine refuses is told in the pod's condition and tried again: memory that is in use now may not be later."""
        name, failures = action.spec.name, self._facts.resize_failures
        try:
            await self._runtime.update_container(action.container, self._ref, action.limits)
            failures.pop(name, None)
        except RuntimeFailure as error:
            now = self._context.shared.clock.now()
            if name not in failures and not isinstance(error, RuntimeUnavailable):
                self._events.container("Warning", "ResizeError", f"Pod resize error: {error}", name)
            failures[name] = StartFailure("Error", str(error), now, now + RESIZE_RETRY)

    async def _pin(self, action: PinContainer) -> None:
        """As Kubernetes' kubelet does, tries again what the engine refuses."""
        name, failures = action.container.name, self._facts.pin_failures
        try:
            await self._runtime.pin_container(action.container, self._ref, action.cpuset)
            failures.pop(name, None)
        except RuntimeFailure as error:
            now = self._context.shared.clock.now()
            failures[name] = StartFailure("Error", str(error), now, now + RESIZE_RETRY)
            log.warning("a container runs on other processors than it should", extra={"container": name, "error": str(error)})

    async def _kill(self, action: KillContainer) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + action.grace_seconds
        known = self._facts.of(action.container.id)
        if action.again:
            known.again = True
        self._stops[action.container.name] = until
        if not known.pre_stop_begun:
            self._events.container("Normal", "Killing", action.message, action.container.name)
            if action.spec is not None and action.spec.lifecycle.HasField("pre_stop"):
                await self._hooks.pre_stop(action.spec, action.container, self._ip(), action.grace_seconds)
            # Not before: a hook that is given up for a shorter stop runs anew within that. A stop that is tried again has had its hook.
            known.pre_stop_begun = True
        await self._runtime.stop_container(action.container, self._ref, max(until - loop.time(), MINIMUM_GRACE_SECONDS))

    async def _pre_stop(self, action: RunPreStop) -> None:
        self._facts.of(action.container.id).pre_stop_begun = True
        self._stops[action.container.name] = asyncio.get_running_loop().time() + action.grace_seconds
        self._events.container("Normal", "Killing", action.message, action.container.name)
        await self._hooks.pre_stop(action.spec, action.container, self._ip(), action.grace_seconds)

    def _ip(self) -> str:
        observation = self._runtime.observe(self._ref.uid)
        return (observation.sandbox.ip if observation and observation.sandbox else "") or self._context.shared.settings.node_ip
