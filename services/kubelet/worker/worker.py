"""One pod's worker: decides what to do, has it done, and tells the status. Nothing else acts on the pod.

Each action runs as a task of its own, at most one per container and one for the sandbox, so that
a slow stop or pull holds up nothing else. Every end of a task, every change of the pod and every
event of the engine wakes the worker, which looks at everything anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.machinery.times import to_time
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.pods import FAILED, SUCCEEDED, every_container, is_finished
from services.kubelet.container.probes import Prober
from services.kubelet.container.termination import termination_message
from services.kubelet.pod import preemption
from services.kubelet.pod.actions import VOLUMES, Decision
from services.kubelet.pod.admission import Taken
from services.kubelet.pod.allocation import apply, asked, is_resizing, message, recalled, same
from services.kubelet.pod.context import NodeContext, PodContext
from services.kubelet.pod.decide import deadline_of, decide
from services.kubelet.pod.directory import PodDirectory, UnmadeDirectory
from services.kubelet.pod.events import PodEvents
from services.kubelet.pod.facts import EVICTED, PREEMPTED, PodFacts
from services.kubelet.pod.group import group_limits
from services.kubelet.pod.spec import ref_of
from services.kubelet.pod.status import keep_others, pod_status
from services.kubelet.pod.status_writer import StatusWriter
from services.kubelet.pod.stopping import stop_grace_seconds, termination_grace_seconds
from services.kubelet.pod.view import PodView, StatusView
from services.kubelet.pod.volumes import shown_metadata, shows_metadata
from services.kubelet.runtime.port import EXITED, RUNNING, PodObservation
from services.kubelet.worker.actions import ActionRunner
from services.kubelet.worker.waiting_events import WaitingEvents

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
# By SIGKILL.
KILLED = 128 + 9
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


class PodWorker:
    """Runs one pod from its first sight to its last trace."""

    def __init__(
        self, pod: core.Pod, context: NodeContext, *, gone: bool = False, mirror: Callable[[], core.Pod | None] | None = None
    ) -> None:
        """``mirror`` answers the pod by which the API shows one that the node runs by itself; None: the pod is the API's."""
        self._context = context
        self._latest = pod
        self._pod = _copy(pod)
        self._ref = ref_of(pod)
        self.facts = PodFacts(context.clock.now(), gone=gone)
        self.facts.swap = context.swap
        self.facts.driven = context.drivers.has(pod.metadata.uid) or context.devices.has(pod.metadata.uid)
        self.facts.recall(pod.status)
        self.facts.granted = recalled(pod)
        self._apply_grant()
        self.activity = "new"
        self._wake = asyncio.Event()
        # Nothing of the pod runs any more, and what it used is given back.
        self.settled = asyncio.Event()
        # None of its containers runs, and none will: the node has ended it.
        self.ended = asyncio.Event()
        self._directory = (PodDirectory if context.runtime.mounts_files else UnmadeDirectory)(context.settings.data_dir, self._ref.uid)
        self._events = PodEvents(context.recorder, self.facts, lambda: self._latest)
        shared = PodContext(context, self._ref, self.facts, self._directory, self._events)
        self._waiting_events = WaitingEvents(self._events.container)
        self.is_static = mirror is not None
        self._writer = StatusWriter(context.client, mirror or (lambda: self._latest), context.turns)
        self._prober = Prober(shared, self.wake)
        self._actions = ActionRunner(shared, lambda: self._pod, self._writer, self.wake)

    def _apply_grant(self) -> None:
        """What the pod takes of the node follows from that alone."""
        apply(self._pod, self.facts.granted)
        self.taken = Taken(self._pod)

    @property
    def pod(self) -> core.Pod:
        """The pod with the status as the kubelet knows it now."""
        return self._pod

    def update(self, pod: core.Pod | None) -> None:
        """The pod changed in the API; None: it is gone. The echo of its own status is no reason to look at it anew."""
        echo = pod is not None and self._writer.has_written(pod, self._latest)
        if pod is None:
            self.facts.gone = True
        else:
            if shows_metadata(pod) and shown_metadata(pod) != shown_metadata(self._latest):
                self._renew_volumes()
            self._latest = pod
            self._pod = _copy(pod, self._pod.status if self._pod.status.HasField("start_time") else None)
            self._apply_grant()
            if not self.wants_resize:
                self.facts.pending = None
        if not echo:
            self.wake()

    def mirrored(self, mirror: core.Pod) -> None:
        """What shows the pod in the API changed. The first time that is all there is of what an earlier kubelet told."""
        self.facts.recall_answers(mirror.status)
        self.wake()

    def end(self) -> None:
        """The node runs it by itself no more: it ends as if it had been deleted."""
        pod = copy_of(self._latest)
        pod.metadata.deletion_timestamp.CopyFrom(to_time(self._context.clock.now()))
        pod.metadata.deletion_grace_period_seconds = int(termination_grace_seconds(pod))
        self.update(pod)

    @property
    def asked(self) -> core.Pod:
        """The pod as the API last told it, with the resources that it asks for."""
        return self._latest

    @property
    def wants_resize(self) -> bool:
        """Whether it asks for other amounts than the node has granted it."""
        return self.is_active and not same(asked(self._latest), self.facts.granted)

    def grant(self) -> None:
        """The node gives the pod what it asks for: its containers get it."""
        self.facts.granted, self.facts.pending, self.facts.resizing = asked(self._latest), None, True
        self.facts.resize_failures.clear()
        self._apply_grant()
        self._events.pod("Normal", "ResizeStarted", message("started", self._latest, self.facts.granted))
        self.wake()

    def defer(self, reason: str, words: str) -> None:
        """The node does not give the pod what it asks for, not now or not ever: it keeps what it has."""
        if self.facts.pending == (reason, words):
            return
        self.facts.pending = (reason, words)
        self._events.pod("Warning", f"Resize{reason}", message(reason, self._latest, asked(self._latest), words))
        self.wake()

    def refuse(self, reason: str, message: str) -> None:
        """The node does not take the pod: it fails, and nothing of it is ever made."""
        self.facts.refused = True
        self.facts.verdict = (reason, f"Pod was rejected: {message}")
        self._events.pod("Warning", reason, message)
        self.wake()

    def warn(self, reason: str, message: str) -> None:
        """Tells the pod's owner; nothing else becomes of it."""
        self._events.pod("Warning", reason, message)

    @property
    def is_active(self) -> bool:
        """Whether the pod is to run on: nobody ends it, and it has not ended."""
        return not (self.facts.gone or self.facts.verdict or is_deleting(self._pod) or is_finished(self._pod))

    def volume_path(self, name: str) -> Path:
        """Where a volume of the pod lies on the node."""
        return self._directory.volume_path(name)

    def driver_path(self, name: str) -> Path:
        """Where the volume of a driver lies; ``name`` is its PersistentVolume's, or its own."""
        return self._directory.driver_path(name)

    @property
    def probed(self) -> Mapping[tuple[str, str, str], int]:
        """How often probes ended how: by container, kind and result."""
        return self._prober.results

    def evict(self, message: str, grace_seconds: float, *, disrupted: bool) -> None:
        """The node ends the pod to protect itself, and keeps nothing of it. ``disrupted``: not for what the pod did itself."""
        self.facts.let_go = True
        self.terminate(EVICTED, message, grace_seconds, disrupted=disrupted)

    def preempt(self) -> float:
        """The pod makes room for a critical one, and nothing of it is kept; answers the seconds that its containers get."""
        self.facts.let_go, self.facts.disruption = True, preemption.DISRUPTION
        seconds = float(termination_grace_seconds(self._pod))
        self.terminate(PREEMPTED, preemption.MESSAGE, seconds, disrupted=True)
        return seconds

    def terminate(self, reason: str, message: str, grace_seconds: float, *, disrupted: bool) -> None:
        """The node ends the pod, whose containers get so long. ``disrupted``: not for what the pod did itself."""
        self.facts.verdict, self.facts.grace_seconds = (reason, message), grace_seconds
        self.facts.disrupted = disrupted
        self._events.pod("Warning", reason, message)
        self.wake()

    async def told(self) -> None:
        """Waits until the API has the pod's status."""
        await self._writer.flush()

    def let_go(self) -> None:
        """The node needs the room: of a pod that has ended nothing is kept but its object."""
        if self.facts.verdict or is_finished(self._pod):
            self.facts.let_go = True
            self.wake()

    def wake(self) -> None:
        """Makes the worker look at everything anew, now or after what it is doing."""
        self._wake.set()

    def _renew_volumes(self) -> None:
        """At once, also where one of them has failed lately."""
        self.facts.volumes_stale = True
        self.facts.failures.pop(VOLUMES, None)

    def refresh_volumes(self) -> None:
        """Something the volumes show has changed."""
        self._renew_volumes()
        for name, failure in list(self.facts.failures.items()):
            if failure.reason == "CreateContainerConfigError":
                del self.facts.failures[name]
        self.wake()

    async def run(self) -> None:
        """Runs until nothing of the pod is left on the node and in the API."""
        try:
            while not await self._step():
                pass
        finally:
            self.settled.set()
            self.ended.set()
            if self.facts.gone and self.facts.cleaned:
                self._context.cpus.release(self._ref.uid)
            await self._prober.close()
            await self._actions.close()
            await self._writer.close()
            self._context.references.forget(self._ref.uid)

    async def _step(self) -> bool:
        """Decides and begins what was decided, then waits for the next reason to look; True when the pod is done with."""
        self._wake.clear()
        now = self._context.clock.now()
        observation = self._context.runtime.observe(self._ref.uid) or PodObservation(self._ref)
        if self.facts.cleaned and observation.empty:
            self.settled.set()
        if self.facts.verdict is not None and not any(container.state == RUNNING for container in observation.containers):
            self.ended.set()
        await self._note_ends(observation)
        self._check_deadline(now)
        self._hasten()
        self._follow_resize(observation)
        self.facts.grouped = self._context.groups.there
        self._follow_cpus(observation)
        renew_at = self._renewal(now)
        decision = decide(self._pod, observation, self.facts, now)
        self.activity = decision.activity
        if decision.activity == "stopping" and self.facts.stopping_since is None:
            self.facts.stopping_since = now
        self._waiting_events.tell(PodView(self._pod, observation, self.facts, now), decision.waiting)
        self._publish(observation, decision, now)
        stopping = decision.activity in ("stopping", "ended")
        self._prober.follow(self._pod, observation, stopping=stopping)
        for action in decision.actions:
            self._actions.begin(action)
        if decision.done and self.facts.gone:
            return True
        if decision.done and is_deleting(self._pod):
            await self._delete_object()
        if renew_at is not None:
            decision.wake(renew_at)
        await self._rest(decision.wake_at)
        # What comes in one turn of the loop, as an action's last deed and its end, is looked at once.
        await asyncio.sleep(0)
        return False

    def _renewal(self, now: datetime) -> datetime | None:
        """When a token or certificate in the volumes is to be renewed; one whose time has come makes them stale."""
        if not self.facts.volumes_ready or not self.is_active:
            return None
        dues = self._context.references.renew_at(self._ref.uid), self._context.drivers.renew_at(self._ref.uid)
        due = min((at for at in dues if at is not None), default=None)
        if due is None or due > now:
            return due
        # Brought up to date at once, unless that failed lately: then it is tried again by itself.
        self.facts.volumes_stale = True
        return None

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
        own, node = self._context.settings.node_ip, self._context.node
        view = StatusView(self._pod, observation, self.facts, now, own, decision.waiting, scheme, node.recursive_read_only)
        status = pod_status(view)
        if status.phase in (SUCCEEDED, FAILED) and self._context.devices.has(self._ref.uid):
            # Whoever hears that a pod has ended may give its devices to another one.
            status.phase = "Running"
        self._pod.status.CopyFrom(status)
        self._writer.publish(status, passes=bool(decision.actions or self.facts.busy))

    async def _note_ends(self, observation: PodObservation) -> None:
        for container in observation.containers:
            known = self.facts.of(container.id)
            if container.state == EXITED and known.termination_message is None:
                if container.exit_code == KILLED and self._context.groups.ran_short(self._ref.uid):
                    known.oom_killed = True
                spec = next((found for found in every_container(self._pod.spec) if found.name == container.name), core.Container())
                known.termination_message = await termination_message(self._context.runtime, self._directory, spec, container)
        present = {container.id for container in observation.containers}
        for container_id in self.facts.containers.keys() - present:
            del self.facts.containers[container_id]

    def _follow_resize(self, observation: PodObservation) -> None:
        """Notes that containers have yet to get what they were granted, and that they all have it."""
        before, self.facts.resizing = self.facts.resizing, self._resizes(observation)
        if before and not self.facts.resizing and self.is_active:
            self._events.pod("Normal", "ResizeCompleted", message("completed", self._latest, self.facts.granted))

    def _resizes(self, observation: PodObservation) -> bool:
        """Whether a container, or the pod as a whole, is held to other amounts than it was granted."""
        held = self.facts.held
        if held is not None and held != group_limits(self._pod, self.facts):
            return True
        return is_resizing(self._pod, observation, self.facts.cpus.alone)

    def _follow_cpus(self, observation: PodObservation) -> None:
        """Notes which processors its containers are to run on; a pod of which nothing runs any more gives back those that it had."""
        cpus, uid = self._context.cpus, self._ref.uid
        if not self.is_active and not self.facts.busy and not any(container.state == RUNNING for container in observation.containers):
            cpus.release(uid)
        self.facts.cpus = cpus.of(uid)

    def _check_deadline(self, now: datetime) -> None:
        deadline = deadline_of(self._pod)
        over = self.facts.verdict is not None or is_finished(self._pod)
        if deadline is not None and now >= deadline and not over:
            self._events.pod("Normal", "DeadlineExceeded", DEADLINE_MESSAGE)
            self.facts.verdict = ("DeadlineExceeded", DEADLINE_MESSAGE)

    def _hasten(self) -> None:
        """A stop gives up what it makes pointless, and may have become more urgent."""
        if self.facts.gone or self.facts.verdict or is_deleting(self._pod):
            self._actions.hasten(stop_grace_seconds(self._pod, self.facts))

    async def _delete_object(self) -> None:
        """Writes the final status, then deletes the object."""
        await self._writer.flush()
        if self.is_static:
            self.facts.gone = True
            self.wake()
            return
        metadata = self._pod.metadata
        try:
            await self._context.client.delete(core.Pod, metadata.name, metadata.namespace, grace_period_seconds=0, uid=metadata.uid)
        except (NotFound, Conflict):
            pass
        except StatusError as error:
            log.warning("pod not deleted", extra={"pod": metadata.name, "error": str(error)})
            await self._rest(self._context.clock.now() + timedelta(seconds=RETRY_SECONDS))
            return
        self.facts.gone = True
        self.wake()


def _copy(pod: core.Pod, status: core.PodStatus | None = None) -> core.Pod:
    """A pod of one's own. ``status``: what the kubelet knows better; conditions of others are taken from the pod."""
    result = copy_of(pod)
    if status is not None:
        result.status.CopyFrom(status)
        own = {condition.type for condition in status.conditions}
        result.status.conditions.extend(condition for condition in pod.status.conditions if condition.type not in own)
        keep_others(result.status, pod.status)
    return result
