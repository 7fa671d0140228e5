"""Follows the pods and nodes of a simulated cluster, and keeps of each pod what the report is made of."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.informer import Informers
from knarr.objects.amounts import CPU, MEMORY, amounts, pod_requests
from knarr.objects.conditions import get_condition, is_true
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.owners import controller_of
from knarr.objects.pods import is_finished, is_ready
from services.controller.controllers.deployment.template import HASH_LABEL
from services.scheduler.writer import DISRUPTED, POD_SCHEDULED, UNSCHEDULABLE
from services.simulation.machines import GROUP
from services.simulation.short_form import WORKLOAD


@dataclass(slots=True)
class PodStory:
    """One pod's life, in seconds since the beginning; None: that has not happened. ``refusal``: why no node takes it, while none does."""

    key: Key
    workload: str
    created: float
    cpu: int
    memory: int
    bound: float | None = None
    ready: float | None = None
    ended: float | None = None
    running: bool = False
    leaving: bool = False
    done: bool = False
    group: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Eviction:
    """``reason`` as in the pod's condition DisruptionTarget."""

    at: float
    workload: str
    reason: str


@dataclass(frozen=True, slots=True)
class GroupUse:
    """Of one group: how many nodes there are, and of what they have, how much is asked for by the pods on them, in percent."""

    nodes: int
    ready: int
    cpu: float
    memory: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What there was at a time. ``pending``: not running yet, bound or not; ``leaving``: told to end, as all are whose node fails for long;
    ``done``: ended well by themselves."""

    at: float
    pending: int
    running: int
    leaving: int
    done: int
    groups: dict[str, GroupUse]


class Observer:
    """``stories`` has all pods that ever were, by uid. ``run`` it; it counts time from ``begin`` on."""

    def __init__(self, client: Client) -> None:
        self._informers = Informers(client)
        self._nodes, self._pods = self._informers.get(core.Node), self._informers.get(core.Pod)
        self._pods.on_change(self._pod_changed)
        self._began = 0.0
        self._group_of: dict[str, str] = {}
        self._nodes.on_change(self._node_changed)
        self.stories: dict[str, PodStory] = {}
        self.evictions: list[Eviction] = []
        self._told: set[str] = set()

    async def run(self) -> None:
        await self._informers.run()

    async def synced(self) -> None:
        await self._informers.wait_synced()

    def begin(self) -> None:
        self._began = asyncio.get_running_loop().time()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    def pod(self, key: Key) -> core.Pod | None:
        return self._pods.store.get(*key)

    def node_of_group(self, group: str) -> str:
        """One of its nodes; empty where there are none."""
        names = (node.metadata.name for node in self._nodes.store.list() if node.metadata.labels.get(GROUP) == group)
        return min(names, default="")

    def waiting(self) -> Iterator[PodStory]:
        """Those that no node takes now."""
        return (story for story in self.stories.values() if story.refusal and story.bound is None and story.ended is None)

    def sample(self, moment: float, groups: list[str]) -> Sample:
        """What there is now, under the time for which it was planned."""
        alive = [story for story in self.stories.values() if story.ended is None]
        running, leaving = sum(story.running for story in alive), sum(story.leaving for story in alive)
        done = sum(story.done for story in self.stories.values())
        return Sample(moment, len(alive) - running - leaving, running, leaving, done, {name: self._use(name, alive) for name in groups})

    def _use(self, group: str, alive: list[PodStory]) -> GroupUse:
        nodes = [node for node in self._nodes.store.list() if node.metadata.labels.get(GROUP) == group]
        there: Counter[str] = Counter()
        for node in nodes:
            there.update(amounts(node.status.allocatable))
        on = [story for story in alive if story.group == group]
        cpu, memory = sum(story.cpu for story in on), sum(story.memory for story in on)
        ready = sum(is_true(node.status, "Ready") for node in nodes)
        return GroupUse(len(nodes), ready, _percent(cpu, there[CPU]), _percent(memory, there[MEMORY]))

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> None:
        if new is not None:
            self._group_of[new.metadata.name] = new.metadata.labels.get(GROUP, "")

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        pod = new or old
        assert pod is not None
        story = self.stories.get(pod.metadata.uid)
        if story is None:
            story = self.stories[pod.metadata.uid] = self._new_story(pod)
        self._note_eviction(pod, story)
        if new is None or is_finished(pod):
            story.ended = self.now if story.ended is None else story.ended
            story.running, story.done = False, pod.status.phase == "Succeeded"
            return
        if pod.spec.node_name and story.bound is None:
            story.bound, story.group = self.now, self._group_of.get(pod.spec.node_name, "")
        if is_ready(pod) and story.ready is None:
            story.ready = self.now
        story.leaving = is_deleting(pod)
        story.running = pod.status.phase == "Running" and not story.leaving
        found = get_condition(pod.status, POD_SCHEDULED)
        refused = found is not None and found.status == "False" and found.reason == UNSCHEDULABLE
        story.refusal = found.message if found is not None and refused else ""

    def _new_story(self, pod: core.Pod) -> PodStory:
        asked = pod_requests(pod)
        return PodStory(key_of(pod), workload_of(pod), self.now, asked.get(CPU, 0), asked.get(MEMORY, 0))

    def _note_eviction(self, pod: core.Pod, story: PodStory) -> None:
        found = get_condition(pod.status, DISRUPTED)
        uid = pod.metadata.uid
        if found is not None and found.status == "True" and uid not in self._told and (is_deleting(pod) or is_finished(pod)):
            self._told.add(uid)
            self.evictions.append(Eviction(self.now, story.workload, found.reason))


def workload_of(pod: core.Pod) -> str:
    """What made the pod, as a person calls it: the Deployment rather than its ReplicaSet."""
    labels, owner = pod.metadata.labels, controller_of(pod)
    if WORKLOAD in labels:
        return labels[WORKLOAD]
    if owner is None:
        return pod.metadata.name
    return owner.name.removesuffix(f"-{labels[HASH_LABEL]}") if HASH_LABEL in labels else owner.name


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
