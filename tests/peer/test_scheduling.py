"""Kubernetes' own scheduler, of 1.20, and ours, given the same nodes and pods: which nodes will do, what each of them is worth, and in
which words it is said that none will.

Theirs binds one pod after the other over our API server, and tells by its log what it thought; ours is asked the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import RETIRED
from knarr.objects.amounts import CPU, MEMORY
from knarr.objects.copies import copy_of
from services.scheduler.decide import decide, feasible_nodes
from services.scheduler.nodes import Nodes, Rows
from services.scheduler.plugin import MAX_SCORE
from services.scheduler.plugins.balancedallocation.plugin import BalancedAllocation
from services.scheduler.plugins.interpodaffinity.plugin import InterPodAffinity
from services.scheduler.plugins.node_affinity.plugin import NOT_NAMED
from services.scheduler.plugins.podtopologyspread.plugin import PodTopologySpread
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import DEFAULT_SCHEDULER
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from tests.apiserver.rest.live import SETTINGS, LiveServer, running_server
from tests.peer.control_planes import SECONDS, kube_scheduler, until
from tests.peer.peers import Ask, Peer
from tests.peer.seeds import seeds
from tests.peer.snapshots import NAMESPACES, Snapshot
from tests.scheduler.objects import Objects

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]

# What 1.20 says of a node (a regular expression of the whole) and newer Kubernetes says otherwise; empty: it says it no more, having said
# the other thing that it says of the node.
WORDS = {
    r"node\(s\) didn't match Pod's node affinity": "node(s) didn't match Pod's node affinity/selector",
    r"node\(s\) had taint \{(.*)\}, that the pod didn't tolerate": "node(s) had untolerated taint(s)",
    r"node\(s\) didn't match pod affinity/anti-affinity": "",
    r"node\(s\) had volume node affinity conflict": "node(s) didn't match PersistentVolume's node affinity",
}
# Theirs by ours, with the weights by which they count theirs. Those of ``OTHERWISE`` are reckoned from the same numbers in another way.
SCORES = {
    "NodeResourcesFit": ("NodeResourcesLeastAllocated", 1),
    "NodeAffinity": ("NodeAffinity", 1),
    "TaintToleration": ("TaintToleration", 1),
    "NodeResourcesBalancedAllocation": ("NodeResourcesBalancedAllocation", 1),
    "PodTopologySpread": ("PodTopologySpread", 2),
    "InterPodAffinity": ("InterPodAffinity", 1),
}
_SCORED = re.compile(r"Plugin (\w+) scores on (\S+) => \[(.*)\]")
_SCORE = re.compile(r"\{(\S+) (-?\d+)\}")
_COUNTED = re.compile(r"(\d+) (.*?)(?=, \d+ |\.$)")


Reckon = Callable[[Any, PodFacts, Nodes, Rows], NDArray[np.int64] | None]


def balance_of_1_20(plugin: BalancedAllocation, pod: PodFacts, nodes: Nodes, rows: Rows) -> NDArray[np.int64]:
    """By how even a node would be; newer Kubernetes: by how much more even than it is."""
    shares = [(nodes.requested[name][rows] + pod.requests.get(name, 0)) / nodes.allocatable[name][rows] for name in (CPU, MEMORY)]
    even: NDArray[np.int64] = ((1 - np.abs(shares[0] - shares[1])) * MAX_SCORE).astype(np.int64)
    return np.where((shares[0] >= 1) | (shares[1] >= 1), 0, even)


def spreading_of_1_20(plugin: PodTopologySpread, pod: PodFacts, nodes: Nodes, rows: Rows) -> NDArray[np.int64] | None:
    """What is summed up is cut off; newer Kubernetes rounds it."""
    crowds = plugin.crowds(pod, nodes, rows)
    if crowds is None:
        return None
    counted, total = crowds
    found = total.astype(np.int64)
    least, most = int(found[counted].min()), int(found[counted].max())
    scores = MAX_SCORE * (most + least - found) // most if most else np.full(len(found), MAX_SCORE)
    return np.where(np.isin(rows, counted), scores[rows], 0)


def affinity_of_1_20(plugin: InterPodAffinity, pod: PodFacts, nodes: Nodes, rows: Rows) -> NDArray[np.int64] | None:
    """Between the least and the most of all nodes and nothing; newer Kubernetes: between those of the nodes."""
    liked = plugin.liked(pod, nodes)
    if liked is None:
        return None
    found = liked[rows]
    least, most = min(int(found.min()), 0), max(int(found.max()), 0)
    scaled: NDArray[np.int64] = (MAX_SCORE * ((found - least) / max(most - least, 1))).astype(np.int64)
    return scaled


OTHERWISE: Mapping[str, Reckon] = {
    "NodeResourcesBalancedAllocation": balance_of_1_20,
    "PodTopologySpread": spreading_of_1_20,
    "InterPodAffinity": affinity_of_1_20,
}


@dataclass(slots=True)
class Log:
    """What their scheduler writes while it works."""

    path: Path

    def text(self) -> str:
        return self.path.read_text(errors="replace")

    def wait_for(self, *lines: str) -> None:
        deadline = time.monotonic() + SECONDS
        missing = set(lines)
        while missing:
            text = self.text()
            missing = {line for line in missing if line not in text}
            assert time.monotonic() < deadline, f"kube-scheduler did not say {sorted(missing)[:3]}"
            time.sleep(0.02)

    def scores(self, pod: str) -> dict[str, dict[str, int]]:
        """By plugin what each node that will do is worth to a pod, ``namespace/name``; nothing where there was no choice."""
        found = {}
        for plugin, of, nodes in _SCORED.findall(self.text()):
            if of == pod:
                found[plugin] = {name: int(score) for name, score in _SCORE.findall(nodes)}
        return found


@dataclass(frozen=True, slots=True)
class World:
    live: LiveServer
    api: Peer
    log: Log

    def create(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        answer = self.api.ask(Ask("POST", path, body=obj))
        assert answer.status == 201, answer
        body: dict[str, Any] = answer.body
        return body

    def delete(self, path: str) -> None:
        answer = self.api.ask(Ask("DELETE", path, {"gracePeriodSeconds": "0"}))
        assert answer.status == 200, answer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("scheduling")
    settings = dataclasses.replace(SETTINGS, revived_versions=frozenset(RETIRED))
    with contextlib.ExitStack() as stack:
        live = stack.enter_context(running_server(folder, in_memory=True, settings=settings))
        stack.enter_context(kube_scheduler(live, folder, "--vmodule=generic_scheduler=10,eventhandlers=3"))
        api = stack.enter_context(contextlib.closing(Peer(live)))
        made = World(live, api, Log(folder / "kube-scheduler.log"))
        for namespace in NAMESPACES:
            api.ask(Ask("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}}))
            account = {"metadata": {"name": "default"}}
            assert api.ask(Ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", body=account)).status in (201, 409)
        yield made


@pytest.fixture
def snapshot(world: World, request: pytest.FixtureRequest) -> Iterator[Snapshot]:
    """One that their scheduler has seen whole."""
    made = Snapshot.of(request.param)
    for node in made.nodes:
        assert world.create("/api/v1/nodes", node)["status"]["allocatable"] == node["status"]["allocatable"]
    for volume in made.volumes:
        world.create("/api/v1/persistentvolumes", volume)
    for claim in made.claims:
        world.create(claims_of(claim), claim)
    for pod in made.placed:
        world.create(pods_of(pod), pod)
    named = (f'add event for node "{node["metadata"]["name"]}"' for node in made.nodes)
    world.log.wait_for(*named, *(f"add event for scheduled pod {_name(pod)} " for pod in made.placed))
    yield made
    for pod in made.placed:
        world.delete(f"{pods_of(pod)}/{pod['metadata']['name']}")
    for node in made.nodes:
        world.delete(f"/api/v1/nodes/{node['metadata']['name']}")
    gone = (f'delete event for node "{node["metadata"]["name"]}"' for node in made.nodes)
    world.log.wait_for(*gone, *(f"delete event for scheduled pod {_name(pod)} " for pod in made.placed))


def pods_of(pod: Mapping[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods"


def claims_of(claim: Mapping[str, Any]) -> str:
    return f"/api/v1/namespaces/{claim['metadata']['namespace']}/persistentvolumeclaims"


def _name(pod: Mapping[str, Any]) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of a pod: what the nodes that will do are worth, by plugin; ``words`` with their counts where there are none. ``best``: where it may
    go, of all that are worth as much: theirs is where it went."""

    feasible: frozenset[str]
    scores: Mapping[str, Mapping[str, int]]
    words: Mapping[str, int]
    best: frozenset[str] = frozenset()


def theirs(world: World, pod: Mapping[str, Any]) -> Judgement:
    """Has it scheduled, and takes it away again."""
    path = f"{pods_of(pod)}/{pod['metadata']['name']}"
    seen = until(world.api, path, lambda found: bool(found["spec"].get("nodeName") or _refusal(found)))
    node = seen["spec"].get("nodeName")
    # What all are worth to it is written before it is bound.
    scores = world.log.scores(_name(pod))
    world.delete(path)
    if not node:
        return Judgement(frozenset(), {}, counted(_refusal(seen)))
    world.log.wait_for(f"delete event for scheduled pod {_name(pod)} ")
    feasible = frozenset(name for nodes in scores.values() for name in nodes) or frozenset({node})
    return Judgement(feasible, scores, {}, frozenset({node}))


def _refusal(pod: Mapping[str, Any]) -> str:
    told = (one for one in pod["status"].get("conditions", ()) if one["type"] == "PodScheduled" and one["status"] == "False")
    return next((str(one["message"]) for one in told), "")


def counted(message: str) -> dict[str, int]:
    """How many nodes each reason is of, in the words of newer Kubernetes."""
    _, _, reasons = message.partition(" nodes are available: ")
    found = Counter[str]()
    for count, words in _COUNTED.findall(reasons):
        for old, new in WORDS.items():
            if re.fullmatch(old, words):
                words = re.sub(old, new, words)
        if words:
            found[words] += int(count)
    return found


def ours(world: World, pod: Mapping[str, Any]) -> Judgement:
    """What our scheduler says of a pod that is there, whoever has given it a node."""
    client = world.live.client
    nodes, pods = world.live.call(client.list(core.Node)).items, world.live.call(client.list(core.Pod)).items
    asked = copy_of(next(one for one in pods if f"{one.metadata.namespace}/{one.metadata.name}" == _name(pod)))
    asked.spec.node_name = ""
    kinds: tuple[Any, ...] = (core.Namespace, core.PersistentVolume, core.PersistentVolumeClaim)
    beside = [obj for kind in kinds for obj in world.live.call(client.list(kind)).items]
    state = SchedulerState(SchedulerSettings(), Objects(*beside), lambda: 0.0)
    for node in nodes:
        state.node_changed(None, node)
    for placed in pods:
        if placed.metadata.uid != asked.metadata.uid and placed.spec.node_name:
            state.pod_changed(None, placed)
    profile, facts = state.profiles[DEFAULT_SCHEDULER], PodFacts.of(asked)
    feasible = feasible_nodes(state.table, profile, facts)
    if not feasible:
        return Judgement(frozenset(), {}, counted(decide(state.table, profile, facts, random.Random(0)).summary))
    names = sorted(feasible)
    rows = np.array(sorted(state.table.rows[name] for name in names), np.intp)
    scores: dict[str, dict[str, int]] = {}
    for plugin, _ in profile.roster(facts).scores:
        reckon = OTHERWISE.get(plugin.name)
        found = reckon(plugin, facts, state.table, rows) if reckon is not None else plugin.score(facts, state.table, rows)
        if found is not None:
            scores[plugin.name] = {state.table.node(int(row)).metadata.name: int(score) for row, score in zip(rows, found, strict=True)}
    totals = {name: sum(scores[mine][name] * weight for mine, (_, weight) in SCORES.items() if mine in scores) for name in names}
    best = frozenset(name for name, total in totals.items() if total == max(totals.values()))
    return Judgement(frozenset(names), scores, {}, best)


def differences(pod: Mapping[str, Any], they: Judgement, we: Judgement) -> Iterator[str]:
    name = _name(pod)
    if they.feasible != we.feasible:
        yield f"{name}: theirs alone {sorted(they.feasible - we.feasible)}, ours alone {sorted(we.feasible - they.feasible)}"
        return
    # Of pods that name their nodes newer Kubernetes says of all others that they are not among those, whatever else keeps the pod off them.
    if they.words != we.words and NOT_NAMED not in we.words:
        yield f"{name}: {dict(they.words)} -> {dict(we.words)}"
    for mine, (plugin, weight) in SCORES.items() if they.scores else ():
        scored = {node: score // weight for node, score in they.scores[plugin].items()}
        # Ours says nothing where it makes no difference.
        if mine in we.scores and we.scores[mine] != scored:
            yield f"{name}: {mine}: {scored} -> {we.scores[mine]}"
        elif mine not in we.scores and len(set(scored.values())) > 1:
            yield f"{name}: {mine}: {scored} -> none"
    if not they.best <= we.best:
        yield f"{name}: it went to {sorted(they.best)}, and not to one of {sorted(we.best)}"


@pytest.mark.parametrize("snapshot", seeds("1-4"), indirect=True, ids=str)
def test_both_think_the_same_of_each_node(world: World, snapshot: Snapshot) -> None:
    found: list[str] = []
    judged = Counter[str]()
    for pod in snapshot.waiting:
        world.create(pods_of(pod), pod)
        we = ours(world, pod)
        they = theirs(world, pod)
        found += differences(pod, they, we)
        judged["refused" if not they.feasible else "scored" if they.scores else "one"] += 1
    assert not found, "\n".join(found)
    # Else nothing was compared.
    assert judged["refused"] and len(judged) > 1, judged
