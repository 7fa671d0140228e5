"""The node's pods: one worker for each, orphans of the engine included."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.client.informer import Informer
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.pods import CONFIG_HASH, CONFIG_SOURCE, MIRROR, is_finished, is_static
from knarr.objects.references import config_map_names, names_trust_bundle, secret_names
from knarr.service.tasks import cancel
from services.kubelet.cpus.ledger import NotGiven
from services.kubelet.metrics import ENGINE_WELL, PODS, PREEMPTIONS
from services.kubelet.node.machine import Pressure
from services.kubelet.pod.actions import VOLUMES
from services.kubelet.pod.admission import (
    Taken,
    is_too_large,
    leaving,
    missing,
    pinned_refusal,
    pressed,
    refusal,
    resize_refusal,
    swap_refusal,
    too_large,
    unfitting,
)
from services.kubelet.pod.allocation import order
from services.kubelet.pod.context import NodeContext
from services.kubelet.pod.critical import is_critical
from services.kubelet.pod.preemption import impossible, victims
from services.kubelet.pod.protection import Refusal, unheeded
from services.kubelet.runtime.plan import PodRef
from services.kubelet.worker.orphans import Orphans
from services.kubelet.worker.worker import PodWorker

log = logging.getLogger(__name__)

# A critical pod waits at least so long for others to make room.
LEAST_ROOM_SECONDS = 10.0
# A pod that nobody can work on costs a try now and then, and a log line each.
WORKER_RETRY = Backoff(first_seconds=1.0, limit_seconds=300.0)


class PodManager:
    """Starts and ends the workers, and passes changes of the API and the engine on to them."""

    def __init__(
        self,
        context: NodeContext,
        pods: Informer[core.Pod],
        pressure: Callable[[], Pressure] = Pressure,
        stops: Callable[[], bool] = bool,
    ) -> None:
        """``pressure`` answers what the node is short of now, ``stops`` whether it shuts down."""
        self._stops = stops
        self._context = context
        self._pressure = pressure
        self._pods = pods
        self._workers: dict[str, PodWorker] = {}
        self._orphans = Orphans(context, lambda uid: uid in self._workers)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # How often in a row the worker of a pod has failed.
        self._failures: dict[str, int] = {}
        # Critical pods that wait for others to make room.
        self._entering: dict[str, asyncio.Task[None]] = {}
        # Pods that ask for other amounts than they were granted, and since when, in the loop's seconds.
        self._resizes: dict[str, float] = {}
        # The pods that the node runs by itself, by uid, and those of them that wait for one of their name to end.
        self._statics: dict[str, core.Pod] = {}
        self._awaited: dict[Key, core.Pod] = {}
        # The API has told of all of the node's pods.
        self._told = False
        self._ran = False

    @property
    def workers(self) -> dict[str, PodWorker]:
        """By pod uid."""
        return self._workers

    def all(self) -> Collection[PodWorker]:
        """The workers there are now."""
        return list(self._workers.values())

    def active(self) -> list[core.Pod]:
        """The pods that run, or are to."""
        return [worker.pod for worker in self._workers.values() if worker.is_active]

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a pod by name; the newest when two of that name are here."""
        for worker in reversed(self._workers.values()):
            if (worker.pod.metadata.namespace, worker.pod.metadata.name) == (namespace, name):
                return worker
        return None

    def uses(self, volume: core.PersistentVolume) -> bool:
        """Whether a pod that is here, or not quite gone from here, has mounted the folder of a volume."""
        path = volume.spec.persistent_volume_source.local.path
        return any(path in worker.facts.folders for worker in self._workers.values())

    def begin(self) -> None:
        """Once, with a runtime that has started: from here on pods are run that come from the node itself, with or without an API."""
        ENGINE_WELL.set(not self._context.runtime.trouble)
        self._context.runtime.on_change(self._engine_changed)
        self._context.references.on_change(self._reference_changed)
        self._context.drivers.on_driver(self._driver_came)
        self._context.cpus.on_change(self._wake_all)

    async def run(self) -> None:
        """Until cancelled. Needs a synced informer, and to have begun."""
        self._told = True
        self._pods.on_change(self._pod_changed)
        for uid, observation in list(self._context.runtime.observed().items()):
            if uid not in self._workers:
                self._start(_stub(observation.ref), gone=True)
        self._context.cpus.keep({*self._workers, *self._entering})
        await asyncio.gather(self._orphans.remove(), self._regroup())
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Ends the workers. The engine goes on, and whoever follows it next is alone with it."""
        self._ran = True
        await cancel([*self._tasks.values(), *self._entering.values()])

    async def _regroup(self) -> None:
        """Where pods had no control groups at first: those that are here get theirs once they can, those that have gone lose theirs."""
        if not self._context.groups.there:
            await self._context.groups.come()
            self._wake_all()
            await self._orphans.remove()

    def static_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """A pod that the node runs by itself has come or gone; one of the same name waits for the other to end."""
        if old is not None:
            self._statics.pop(old.metadata.uid, None)
            self._awaited.pop(key_of(old), None)
            if (worker := self._workers.get(old.metadata.uid)) is not None:
                worker.end()
        if new is not None:
            self._statics[new.metadata.uid] = self._awaited[key_of(new)] = new
        self._take_awaited()

    def _take_awaited(self) -> None:
        for key, pod in list(self._awaited.items()):
            for observation in list(self._context.runtime.observed().values()):
                ref = observation.ref
                if (ref.namespace, ref.name) == key and ref.uid != pod.metadata.uid and ref.uid not in self._workers:
                    # What ran here by that name before this kubelet came.
                    self._start(_stub(ref), gone=True)
            if not any(key_of(worker.pod) == key for worker in self._workers.values()):
                del self._awaited[key]
                self._take(pod)

    def _mirror(self, pod: core.Pod) -> core.Pod | None:
        """The mirror by which the API shows a pod that the node runs by itself."""
        found = self._pods.store.get(*key_of(pod))
        return found if found is not None and found.metadata.annotations.get(MIRROR) == pod.metadata.annotations[CONFIG_HASH] else None

    def _mirror_changed(self, mirror: core.Pod) -> None:
        """Whoever runs what it shows has its status told."""
        worker = self._workers.get(mirror.metadata.annotations[MIRROR])
        if worker is not None:
            worker.mirrored(mirror)

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        shown = new if new is not None else old
        if shown is not None and MIRROR in shown.metadata.annotations:
            self._mirror_changed(shown)
            return
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid) and old.metadata.uid in self._workers:
            self._workers[old.metadata.uid].update(None)
        if new is None:
            return
        new = _of_api(new)
        if new.metadata.uid in self._entering and not is_deleting(new):
            # Its latest state is looked at when there is room.
            return
        worker = self._workers.get(new.metadata.uid)
        if worker is not None:
            worker.update(new)
            if worker.wants_resize:
                self._resizes.setdefault(new.metadata.uid, asyncio.get_running_loop().time())
            self._settle_resizes()
            return
        self._take(new)

    def _take(self, new: core.Pod) -> None:
        """Begins with a pod that is new here."""
        refused = None
        if is_too_large(new) and not is_finished(new):
            refused = too_large()
        elif not self._is_taken(new):
            refused = leaving(self._stops()) or pressed(new, self._pressure())
            if refused is None and is_critical(new):
                refused = self._make_room(new)
                if new.metadata.uid in self._entering:
                    return
            elif refused is None:
                refused = refusal(new, self._taken(new.metadata.uid), self._context.node.allocatable, self._context.node.host)
        self._begin(new, refused)

    def _begin(self, new: core.Pod, refused: Refusal | None) -> None:
        refused = refused or self._give_cpus(new)
        worker = self._start(new, gone=False)
        if refused is not None:
            worker.refuse(refused.reason, refused.message)
            return
        if not self._is_taken(new) and (said := unheeded(new, self._context.node.host)) is not None:
            worker.warn(said.reason, said.message)
        if worker.wants_resize:
            self._resizes[new.metadata.uid] = asyncio.get_running_loop().time()
            self._settle_resizes()

    def _give_cpus(self, new: core.Pod) -> Refusal | None:
        """Why a pod does not get the processors that it is to have alone. One that runs already, from before they were given to any, goes
        on without: it shares."""
        if is_finished(new) or is_deleting(new):
            return None
        try:
            self._context.cpus.admit(new)
        except NotGiven as error:
            if not self._is_taken(new):
                return Refusal(error.reason, str(error))
            log.warning("a pod shares the processors that it should have alone", extra={"pod": new.metadata.name, "error": str(error)})
        return None

    def _make_room(self, new: core.Pod) -> Refusal | None:
        """Ends others for a critical pod, which begins when they have ended; answers why it cannot be taken."""
        uid, node = new.metadata.uid, self._context.node
        taken = list(self._taken(uid))
        if (refused := unfitting(new, taken, node.host)) is not None:
            return refused
        short = missing(new, taken, node.allocatable)
        if not short:
            return None
        active = self.active()
        chosen = victims(new, active, short)
        if chosen is None:
            return impossible(short, active, new)
        ending = [self._workers[pod.metadata.uid] for pod in chosen]
        seconds = max((worker.preempt() for worker in ending), default=0.0)
        PREEMPTIONS.labels(next(iter(short))).inc(len(ending))
        self._entering[uid] = asyncio.create_task(self._enter(new, ending, seconds), name=f"kubelet/room for {new.metadata.name}")
        return None

    async def _enter(self, new: core.Pod, ending: list[PodWorker], seconds: float) -> None:
        """Waits for others to end, but not for ever, and begins with the pod if it is still there."""
        uid = new.metadata.uid
        try:
            async with asyncio.timeout(max(seconds * 1.5, LEAST_ROOM_SECONDS)):
                for worker in ending:
                    await worker.ended.wait()
        except TimeoutError:
            log.warning("a critical pod begins beside those that should have made room", extra={"pod": new.metadata.name})
        finally:
            del self._entering[uid]
        if is_static(new):
            latest = self._statics.get(uid)
        else:
            found = self._pods.store.get(*key_of(new))
            latest = _of_api(found) if found is not None and found.metadata.uid == uid else None
        if latest is not None and uid not in self._workers:
            self._begin(latest, None)

    def _settle_resizes(self) -> None:
        """Grants what there is room for. Called when a pod changes or ends: nothing else makes room."""
        waiting = [worker for uid in list(self._resizes) if (worker := self._resizing(uid)) is not None]
        for worker in sorted(waiting, key=lambda found: order(found.asked, found.pod, self._resizes[found.pod.metadata.uid])):
            uid = worker.pod.metadata.uid
            refused = pinned_refusal(worker.asked, worker.pod) if self._context.cpus.pins else None
            refused = refused or swap_refusal(worker.asked, worker.pod, self._context.swap)
            refused = refused or resize_refusal(worker.asked, self._taken(uid), self._context.node.allocatable, self._context.node.host)
            if refused is None:
                del self._resizes[uid]
                worker.grant()
            else:
                worker.defer(refused.reason, refused.message)

    def _resizing(self, uid: str) -> PodWorker | None:
        """The worker of a pod that waits for other amounts; one that does so no longer is forgotten."""
        worker = self._workers.get(uid)
        if worker is not None and worker.wants_resize:
            return worker
        self._resizes.pop(uid, None)
        return None

    def _is_taken(self, pod: core.Pod) -> bool:
        """Whether a kubelet of this node began with the pod already."""
        return pod.status.HasField("start_time") or is_deleting(pod) or self._context.runtime.observe(pod.metadata.uid) is not None

    def _taken(self, newcomer: str) -> Iterator[Taken]:
        """The pods that hold resources of the node, but for one uid."""
        own = [worker.pod for worker in self._workers.values() if worker.is_static]
        shown = (pod for pod in self._pods.store.list() if MIRROR not in pod.metadata.annotations)
        for pod in (*own, *shown):
            uid = pod.metadata.uid
            worker = self._workers.get(uid)
            counted = self._is_taken(pod) or uid in self._entering if worker is None else not worker.facts.refused
            if uid != newcomer and counted and not is_finished(pod) and not is_too_large(pod):
                # Of what it asks for it may not have been granted all.
                yield Taken(pod) if worker is None else worker.taken

    def _engine_changed(self, uid: str) -> None:
        if self._ran:
            return
        if not uid:
            ENGINE_WELL.set(not self._context.runtime.trouble)
            self._wake_all()
        elif uid in self._workers:
            self._workers[uid].wake()
        elif self._told:
            observation = self._context.runtime.observe(uid)
            if observation is not None:
                self._start(_stub(observation.ref), gone=True)

    def _wake_all(self) -> None:
        for worker in self._workers.values():
            worker.wake()

    def _reference_changed(self, kind: str, key: Key) -> None:
        for worker in list(self._workers.values()):
            if _names(worker.pod, kind, key):
                worker.refresh_volumes()

    def _driver_came(self) -> None:
        """Whoever waits for one need not wait out its time."""
        for worker in list(self._workers.values()):
            if worker.facts.driven and VOLUMES in worker.facts.failures:
                worker.refresh_volumes()

    def _start(self, pod: core.Pod, *, gone: bool) -> PodWorker:
        uid = pod.metadata.uid
        mirror = (lambda: self._mirror(pod)) if is_static(pod) else None
        worker = PodWorker(pod, self._context, gone=gone, mirror=mirror)
        self._workers[uid] = worker
        PODS.set(len(self._workers))
        task = asyncio.create_task(worker.run(), name=f"kubelet/pod/{pod.metadata.namespace}/{pod.metadata.name}")
        self._tasks[uid] = task
        task.add_done_callback(lambda done: self._ended(uid, done))
        return worker

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        worker = self._workers.pop(uid, None)
        self._tasks.pop(uid, None)
        PODS.set(len(self._workers))
        if task.cancelled() or worker is None:
            return
        self._settle_resizes()
        self._take_awaited()
        error = task.exception()
        if error is None:
            self._failures.pop(uid, None)
            return
        self._failures[uid] = self._failures.get(uid, 0) + 1
        seconds = WORKER_RETRY.delay(self._failures[uid])
        log.error("pod worker failed; starting it again", extra={"uid": uid, "seconds": seconds}, exc_info=error)
        asyncio.get_running_loop().call_later(seconds, self._restart, worker.asked)

    def _restart(self, pod: core.Pod) -> None:
        """As a kubelet that comes anew would: what the worker knew better may not be written, and it was not told that the pod went."""
        if self._ran or pod.metadata.uid in self._workers:
            return
        if is_static(pod):
            if (wanted := self._statics.get(pod.metadata.uid)) is not None:
                self._awaited[key_of(wanted)] = wanted
                self._take_awaited()
            return
        found = self._pods.store.get(*key_of(pod))
        if found is not None and found.metadata.uid == pod.metadata.uid:
            self._pod_changed(None, found)
        else:
            self._start(pod, gone=True)


def _of_api(pod: core.Pod) -> core.Pod:
    """A pod that the API has, whatever its annotations say: whoever writes one could else claim that it is the node's own, which is never
    evicted, and whose status is another one's."""
    if not is_static(pod):
        return pod
    pod = copy_of(pod)
    pod.metadata.annotations[CONFIG_SOURCE] = "api"
    return pod


def _names(pod: core.Pod, kind: str, key: Key) -> bool:
    if kind == "ClusterTrustBundle":
        return names_trust_bundle(pod, key.name)
    if kind == "Pod":
        return key_of(pod) == key
    names = config_map_names if kind == "ConfigMap" else secret_names
    return bool(pod.metadata.namespace == key.namespace and key.name in names(pod))


def _stub(ref: PodRef) -> core.Pod:
    """A pod of which only the engine knows."""
    pod = core.Pod()
    pod.metadata.namespace, pod.metadata.name, pod.metadata.uid = ref.namespace, ref.name, ref.uid
    return pod
