"""Plays a trace: the scheduler, the controllers and kubelets without containers, over the API in memory, on a clock that jumps.

Programs take no time there: what is told is waiting for room, for retries, for heartbeats that do not come, and the delays of the trace.
The same trace with the same seed gives the same report.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client import backoff
from knarr.machinery.errors import AlreadyExists, NotFound, StatusError
from knarr.objects import names
from knarr.objects.keys import Key, metadata_of
from knarr.service.authentication import AUTHENTICATED, NODE_PREFIX, NODES, User
from knarr.service.errors import CommandError
from knarr.service.tasks import cancel
from knarr.service.virtual_time import SoleVirtualLoop, VirtualClock, run
from services.apiserver.authorization import ALLOW_AUTHENTICATED
from services.apiserver.in_memory import ApiInMemory
from services.controller.component import ControllerManager
from services.controller.settings import ControllerSettings
from services.scheduler.component import Scheduler
from services.scheduler.settings import SchedulerSettings
from services.scheduler.what_if import MOST_NODES, MOST_WAITING
from services.simulation.machines import Machines
from services.simulation.observer import Observer, Sample
from services.simulation.report import NotMade, Remainder, Report, Wait, evicted, readiness
from services.simulation.trace import NodeChange, NodeGroup, Trace, Workload, WorkloadChange

# What happens at a time is over after that, unless it takes time.
INSTANT_SECONDS = 1e-3
POLL_SECONDS = 0.05
# The cluster itself needs a while before and after.
BESIDE_SECONDS = 3600.0
# Two pods of a workload that wait for the same reason are told of once; so many reasons a workload.
MOST_REASONS = 5

# The events of controllers whose pods are refused.
NOT_CREATED = "FailedCreate"

# Hears of each sample: the time, and what there was.
Progress = Callable[[Sample], None]
Step = Callable[[], Coroutine[Any, Any, None]]


def simulate(trace: Trace, progress: Progress = lambda sample: None) -> Report:
    """Raises CommandError where the API server refuses what the trace has, by its place in it."""
    names.repeat(trace.seed)
    backoff.repeat(trace.seed)
    with tempfile.TemporaryDirectory(prefix="knarr-simulation-") as folder:
        main = _simulate(trace, Path(folder), progress)
        report: Report = run(main, limit_seconds=trace.until + BESIDE_SECONDS, loop=SoleVirtualLoop)
        return report


async def _simulate(trace: Trace, folder: Path, progress: Progress) -> Report:
    clock = VirtualClock()
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(ApiInMemory(clock, trace.seed, authorizer=ALLOW_AUTHENTICATED))
        simulation = Simulation(trace, api, folder, clock)
        stack.push_async_callback(simulation.close)
        await simulation.start()
        await simulation.play(progress)
        return simulation.report()


class Simulation:
    """One cluster, from its start to its end."""

    def __init__(self, trace: Trace, api: ApiInMemory, folder: Path, clock: VirtualClock) -> None:
        def client(name: str, *groups: str) -> Any:
            return api.client(User(name, groups=(*groups, AUTHENTICATED)))

        self._trace, self._admin = trace, api.client()
        # Ranges of addresses are given to the nodes here, not by the controller.
        controller = ControllerSettings(cluster_cidr="")
        self._scheduler = Scheduler(client("system:kube-scheduler"), SchedulerSettings(seed=trace.seed), clock=clock)
        self._manager = ControllerManager(client("system:kube-controller-manager"), controller, clock=clock)
        self._machines = Machines(lambda name: client(f"{NODE_PREFIX}{name}", NODES), self._admin, folder, clock)
        self._observer = Observer(self._admin)
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._groups = [group.name for group in trace.nodes]
        self._samples: list[Sample] = []
        self._waits: dict[tuple[str, str], Wait] = {}
        self._remainder = Remainder(0)
        self._not_made: list[NotMade] = []

    async def start(self) -> None:
        """Returns when the nodes are ready that are there from the beginning."""
        works = (self._scheduler, self._manager, self._observer)
        self._tasks = [asyncio.create_task(work.run(), name=type(work).__name__) for work in works]
        await self._observer.synced()
        while not (self._scheduler.working and self._manager.working):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        for group in self._trace.nodes:
            if not group.at:
                self._machines.join(group, group.count)
        await self._machines.wait_ready()
        # A node's taint of a new one is taken away by a controller.
        await asyncio.sleep(1.0)
        self._observer.begin()

    async def close(self) -> None:
        await cancel(list(self._under_way))
        await self._machines.close()
        await cancel(self._tasks)

    async def play(self, progress: Progress) -> None:
        for moment, step in self._agenda(progress):
            if moment > self._trace.until:
                break
            if (pause := moment - self._observer.now) > 0:
                await asyncio.sleep(pause)
            await self._begin(step)
            self._raise_failures()
        self._remainder = self._remaining()
        self._not_made = await self._refused()

    async def _refused(self) -> list[NotMade]:
        """By owner the last words with which no pod was made."""
        events = (await self._admin.list(core.Event)).items
        failures = sorted((one for one in events if one.reason == NOT_CREATED), key=lambda one: one.last_timestamp.seconds)
        last = {(one.involved_object.kind, one.involved_object.namespace, one.involved_object.name): one.message for one in failures}
        return [NotMade(f"{kind} {name}", words) for (kind, _, name), words in sorted(last.items())]

    def report(self) -> Report:
        waits = sorted(self._waits.values(), key=lambda wait: (wait.workload, wait.since, wait.words))
        observer = self._observer
        ready, gone = readiness(observer.stories.values()), evicted(observer.evictions)
        return Report(self._trace.until, self._samples, ready, waits, gone, self._remainder, self._not_made)

    async def _begin(self, step: Step) -> None:
        """Goes on as soon as only time could bring it further."""
        task = asyncio.create_task(step(), name="a step of the trace")
        self._under_way.add(task)
        await asyncio.wait([task], timeout=2 * INSTANT_SECONDS)

    def _raise_failures(self) -> None:
        for task in [*self._under_way, *self._tasks]:
            if task.done():
                self._under_way.discard(task)
                task.result()
        if any(task.done() for task in self._tasks):
            raise RuntimeError("a component of the simulated cluster has ended")

    def _agenda(self, progress: Progress) -> list[tuple[float, Step]]:
        """What is done when, in order; of what is at the same time, nodes come first, and looking last."""
        found: list[tuple[float, int, Step]] = []
        for group in self._trace.nodes:
            if group.at:
                found.append((group.at, 0, partial(self._join, group, group.count)))
            found += [(change.at, 0, partial(self._change, group, change)) for change in group.changes]
        for workload in self._trace.workloads:
            found.append((workload.at, 1, partial(self._create, workload)))
            found += [(change.at, 1, partial(self._alter, workload, change)) for change in workload.changes]
        count = math.ceil(self._trace.until / self._trace.sample - 1e-9)
        moments = [*(number * self._trace.sample for number in range(count)), self._trace.until]
        found += [(moment, 2, partial(self._look, moment, progress)) for moment in moments]
        return [(moment, step) for moment, _, step in sorted(found, key=lambda one: one[:2])]

    async def _join(self, group: NodeGroup, count: int) -> None:
        self._machines.join(group, count)

    async def _change(self, group: NodeGroup, change: NodeChange) -> None:
        if change.what == "add":
            self._machines.join(group, change.count)
        elif change.what == "remove":
            await self._machines.leave(group.name, change.count)
        else:
            await self._machines.fail(group.name, change.count, change.seconds)

    async def _create(self, workload: Workload) -> None:
        for obj in workload.objects:
            try:
                await self._ensure_namespace(metadata_of(obj).namespace)
                await self._admin.create(obj)
            except StatusError as error:
                raise CommandError(f"{workload.path}: {error}") from error

    async def _ensure_namespace(self, name: str) -> None:
        if not name:
            return
        try:
            await self._admin.get(core.Namespace, name)
        except NotFound:
            namespace, account = core.Namespace(), core.ServiceAccount()
            namespace.metadata.name = account.metadata.namespace = name
            account.metadata.name = "default"
            await self._admin.create(namespace)
            # The controller may have been quicker.
            with suppress(AlreadyExists):
                await self._admin.create(account)

    async def _alter(self, workload: Workload, change: WorkloadChange) -> None:
        try:
            if change.replicas is None:
                for obj in reversed(workload.objects):
                    metadata = metadata_of(obj)
                    await self._admin.delete(type(obj), metadata.name, metadata.namespace, propagation_policy="Background")
            else:
                await self._rescale(workload.objects[-1], change.replicas)
        except StatusError as error:
            raise CommandError(f"{workload.path}.changes: {error}") from error

    async def _rescale(self, obj: Message, replicas: int) -> None:
        metadata = metadata_of(obj)
        scale = await self._admin.scale(type(obj), metadata.name, metadata.namespace)
        scale.spec.replicas = replicas
        await self._admin.rescale(type(obj), scale)

    async def _look(self, moment: float, progress: Progress) -> None:
        await asyncio.sleep(INSTANT_SECONDS)
        sample = self._observer.sample(moment, self._groups)
        self._samples.append(sample)
        for workload, words, key, count in self._refusals():
            wait = self._waits.get((workload, words))
            if wait is None:
                if sum(known == workload for known, _ in self._waits) >= MOST_REASONS:
                    continue
                wait = self._waits[workload, words] = Wait(workload, words, sample.at, sample.at, count, await self._remedies(key))
            wait.until, wait.most = sample.at, max(wait.most, count)
        progress(sample)

    def _refusals(self) -> list[tuple[str, str, Key, int]]:
        """By workload and reason, one of the pods that wait, and how many they are."""
        found: dict[tuple[str, str], list[Key]] = {}
        for story in self._observer.waiting():
            found.setdefault((story.workload, story.refusal), []).append(story.key)
        return [(*what, keys[0], len(keys)) for what, keys in sorted(found.items())]

    async def _remedies(self, key: Key) -> list[str]:
        account = await self._scheduler.explain(key.namespace, key.name)
        return [remedy.words for remedy in account.explanation.remedies]

    def _remaining(self) -> Remainder:
        waiting = sum(1 for _ in self._observer.waiting())
        if not waiting:
            return Remainder(0)
        groups = [group for group in self._groups if self._observer.node_of_group(group)]
        return Remainder(waiting, min(waiting, MOST_WAITING), {group: self._wanting(group) for group in groups})

    def _wanting(self, group: str) -> int | None:
        """The least number of nodes like those of a group with which nobody waits; None where the most that can be asked about are not
        enough. What more nodes bring is never less room."""
        like = self._observer.node_of_group(group)

        def enough(count: int) -> bool:
            return not self._scheduler.what_if().left_waiting(like, count)

        low, high = 0, 1
        while not enough(high):
            if high == MOST_NODES:
                return None
            low, high = high, min(high * 2, MOST_NODES)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high
