"""Extenders, and plugins in other processes, have a say in who is to go for a pod of higher priority."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduler.v1 import plugin_pb2 as api
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.objects.conditions import get_condition
from services.scheduler.extender import ExtenderFailed
from tests.scheduler.contested import classed
from tests.scheduler.objects import node, pod
from tests.scheduler.test_extenders import Answers, Extended
from tests.scheduler.test_remote import Cluster, Odd, serving
from tests.support.api import FaultyApi
from tests.support.virtual_time import virtual_time


def with_lower_ones(api: FaultyApi) -> None:
    """A node each for two pods of lower priority, and one of a high priority on the first node; the nodes are full."""
    for value in (5, 10, 20):
        found = scheduling.PriorityClass(value=value, preemption_policy="PreemptLowerPriority")
        found.metadata.name = f"p{value}"
        api.seed(found)
    for name, at, priority in (("low-1", "n1", 0), ("low-2", "n2", 5), ("high", "n1", 20)):
        there = pod(name, "1", node_name=at, priority=priority)
        there.spec.termination_grace_period_seconds = 0
        api.seed(there)


def uids_of(made: Extended) -> dict[str, str]:
    return {found.metadata.name: found.metadata.uid for found in made.api.all(core.Pod)}


def extended(web: Answers, **extender: Any) -> Extended:
    made = Extended(web, node("n1", cpu="2"), node("n2", cpu="1"), preempt_verb="preempt", **extender)
    with_lower_ones(made.api)
    return made


async def names_left(made: Extended) -> set[str]:
    await made.client.create(classed("urgent", 10))
    await asyncio.sleep(0.5)
    return {found.metadata.name for found in made.api.all(core.Pod) if not found.metadata.HasField("deletion_timestamp")}


@virtual_time
async def test_it_chooses_among_the_ways_to_make_room() -> None:
    async def preempt(body: Any) -> Any:
        return {"nodeNameToMetaVictims": {"n2": body["NodeNameToMetaVictims"]["n2"]}}

    web = Answers(preempt=preempt)
    made = extended(web)
    async with made.running():
        uids = uids_of(made)
        # Left to itself the scheduler would have taken the lowest.
        assert await names_left(made) == {"low-1", "high", "urgent"}
        assert (await made.pod("urgent")).status.nominated_node_name == "n2"
    (verb, body), *_ = web.asked
    assert verb == "preempt" and body["Pod"]["metadata"]["name"] == "urgent" and body["NodeNameToVictims"] is None
    assert body["NodeNameToMetaVictims"] == {
        "n1": {"Pods": [{"UID": uids["low-1"]}], "NumPDBViolations": 0},
        "n2": {"Pods": [{"UID": uids["low-2"]}], "NumPDBViolations": 0},
    }


@virtual_time
async def test_whole_pods_are_sent_to_one_that_keeps_none() -> None:
    web = Answers(preempt={"NodeNameToMetaVictims": {}})
    made = extended(web)
    made.scheduler._extenders._extenders = [
        type(one)(url_prefix=one.url_prefix, preempt_verb="preempt") for one in made.scheduler._settings.extenders
    ]
    async with made.running():
        assert await names_left(made) == {"low-1", "low-2", "high", "urgent"}
        condition = get_condition((await made.pod("urgent")).status, "PodScheduled")
        assert condition is not None and condition.message.endswith(" preemption: no candidate node for preemption")
    told = web.asked[0][1]["NodeNameToVictims"]
    assert {name: [one["metadata"]["name"] for one in found["Pods"]] for name, found in told.items()} == {"n1": ["low-1"], "n2": ["low-2"]}


WRONG = [
    (ExtenderFailed("away"), "preemption: away"),
    ([1], "preemption: an extender answered no object: [1]"),
    ({"NodeNameToMetaVictims": {"n1": {"Pods": []}}}, 'preemption: expected at least one victim pod on node "n1"'),
    ({"NodeNameToMetaVictims": {"n1": None}}, 'preemption: expected at least one victim pod on node "n1"'),
    ({"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "x"}]}}}, "on node: n1, but the pod is not found on that node"),
    ({"NodeNameToMetaVictims": {"n9": {"Pods": [{"UID": "x"}]}}}, "on node: n9, but the pod is not found on that node"),
    ({"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "HIGH"}]}}}, "on node: n1, but the pod is of no lower priority"),
    ({"NodeNameToMetaVictims": {"n1": {"Pods": 7}}}, "gave an answer that cannot be read"),
]


def answering(made: Extended, answer: Any) -> Any:
    async def preempt(_: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        high = uids_of(made)["high"]
        found = answer["NodeNameToMetaVictims"].get("n1") if isinstance(answer, dict) else None
        return {"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": high}]}}} if found == {"Pods": [{"UID": "HIGH"}]} else answer

    return preempt


@virtual_time
@pytest.mark.parametrize(("answer", "words"), WRONG)
async def test_nobody_goes_by_an_answer_that_cannot_be(answer: Any, words: str) -> None:
    web = Answers()
    made = extended(web)
    web.answers["preempt"] = answering(made, answer)
    async with made.running():
        assert await names_left(made) == {"low-1", "low-2", "high", "urgent"}
        condition = get_condition((await made.pod("urgent")).status, "PodScheduled")
        assert condition is not None and condition.reason == "Unschedulable" and words in condition.message


@virtual_time
async def test_one_that_may_be_ignored_is() -> None:
    made = extended(Answers(preempt=ExtenderFailed("away")), ignorable=True)
    async with made.running():
        assert await names_left(made) == {"low-2", "high", "urgent"}
        assert (await made.pod("urgent")).status.nominated_node_name == "n1"


@virtual_time
async def test_who_has_gone_while_it_thought_does_not_go_again_and_no_room_is_missed() -> None:
    async def preempt(body: Any) -> Any:
        await asyncio.sleep(3)
        return {"NodeNameToMetaVictims": {"n1": body["NodeNameToMetaVictims"]["n1"]}}

    made = extended(Answers(preempt=preempt))
    async with made.running():
        await made.client.create(classed("urgent", 10))
        await asyncio.sleep(1)
        await made.client.delete(core.Pod, "low-1", "default", grace_period_seconds=0)
        await asyncio.sleep(10)
        assert (await made.pod("urgent")).spec.node_name == "n1" and not made.events("Preempted")


@virtual_time
async def test_a_pod_that_goes_while_it_thinks_leaves_no_promise() -> None:
    async def preempt(body: Any) -> Any:
        await asyncio.sleep(3)
        return body

    made = extended(Answers(preempt=preempt))
    async with made.running():
        await made.client.create(classed("urgent", 10))
        await asyncio.sleep(1)
        await made.client.delete(core.Pod, "urgent", "default", grace_period_seconds=0)
        await asyncio.sleep(10)
        assert not made.events("Preempted") and not made.scheduler.state.nominations._promised
        assert {found.metadata.name for found in made.api.all(core.Pod)} == {"low-1", "low-2", "high"}


async def thinks(body: Any) -> Any:
    await asyncio.sleep(3)
    return {"NodeNameToMetaVictims": {}}


@virtual_time
async def test_what_a_pod_tolerates_while_it_thinks_is_not_missed() -> None:
    made = extended(Answers(preempt=thinks))
    tainted = node("n3", cpu="1")
    tainted.spec.taints.add(key="gpu", effect="NoSchedule")
    made.api.seed(tainted)
    async with made.running():
        await made.client.create(classed("urgent", 10))
        await asyncio.sleep(1)
        changed = await made.pod("urgent")
        changed.spec.tolerations.add(key="gpu", operator="Exists")
        await made.client.update(changed)
        await asyncio.sleep(10)
        assert (await made.pod("urgent")).spec.node_name == "n3"


@virtual_time
async def test_a_node_that_goes_while_it_thinks_and_takes_whom_a_pod_minds_is_not_missed() -> None:
    made = Extended(Answers(preempt=thinks), node("n1", labels={"zone": "a"}), node("n2", labels={"zone": "a"}), preempt_verb="preempt")
    with_lower_ones(made.api)
    web = pod("web", node_name="n1")
    web.metadata.labels["app"] = "web"
    made.api.seed(web)
    urgent = classed("urgent", 10)
    terms = urgent.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution
    terms.add(topology_key="zone").label_selector.match_labels["app"] = "web"
    async with made.running():
        await made.client.create(urgent)
        await asyncio.sleep(1)
        await made.client.delete(core.Node, "n1")
        await asyncio.sleep(10)
        assert (await made.pod("urgent")).spec.node_name == "n2"


async def test_nobody_goes_from_a_node_that_a_plugin_of_another_process_refuses_all_the_same() -> None:
    plugin = Odd(filter=True, pods=True)

    async def sift(request: Any, context: Any) -> api.FilterResponse:
        bad = [number for number in request.candidates if plugin.nodes[number] == "n1"]
        return api.FilterResponse(refusals=[api.Refusal(reason="node(s) were odd", nodes=bad)])

    plugin.answers["Filter"] = sift
    async with serving(plugin) as port:
        made = Cluster(port, node("n1", cpu="2"), node("n2", cpu="1"))
        with_lower_ones(made.api)
        async with made.running():
            assert await made.placed(classed("urgent", 10)) == "n2"
    assert {found.metadata.name for found in made.api.all(core.Pod)} == {"low-1", "high", "urgent"}
    without = [list(request.without_pods) for request in plugin.asked("Filter") if request.without_pods]
    assert [len(uids) for uids in without] == [1, 1]
