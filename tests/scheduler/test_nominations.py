"""A promised node: nobody of lower priority takes it, it is given up when nobody wants it, and nobody waits for what will not come."""

from __future__ import annotations

import asyncio
import random

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from knarr.objects.copies import copy_of
from services.scheduler.decide import decide
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preempter import Plan
from services.scheduler.preemption import Preemption
from services.scheduler.profile import DEFAULT_SCHEDULER
from services.scheduler.queue import State, Waiting
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from tests.scheduler.contested import classed, fixture, let_it_wait
from tests.scheduler.objects import Objects, node, pod
from tests.scheduler.test_component import Fixture
from tests.support.virtual_time import virtual_time


def promised(name: str, at: str, priority: int = 10) -> core.Pod:
    found = pod(name, "1", priority=priority)
    found.status.nominated_node_name = at
    return found


def changed(old: core.Pod, node_name: str = "", promise: str | None = None, **labels: str) -> core.Pod:
    found = copy_of(old)
    found.spec.node_name = node_name
    found.metadata.labels.update(labels)
    if promise is not None:
        found.status.nominated_node_name = promise
    return found


async def refused_for(state: SchedulerState, *others: core.Pod) -> Waiting:
    """A pod of lower priority that is refused because the only free node is promised to others."""
    for other in others:
        state.pod_changed(None, other)
    for _ in others:
        await state.queue.take()
    state.pod_changed(None, pod("low", "1", priority=5))
    waiting = await state.queue.take()
    assert waiting.pod.key.name == "low"
    decision = decide(state.nominations.seen_by(waiting.pod, state.table), state.profiles[DEFAULT_SCHEDULER], waiting.pod, random.Random(0))
    assert not decision.node
    state.queue.refuse(waiting, decision.refused_by)
    return waiting


def empty_state() -> SchedulerState:
    state = SchedulerState(SchedulerSettings(), Objects(), asyncio.get_running_loop().time)
    for found in (node("n1", cpu="1"), node("n2", cpu="500m")):
        state.node_changed(None, found)
    return state


@pytest.mark.parametrize("why", ["gone", "finished", "bound elsewhere", "decided elsewhere", "taken back", "promised elsewhere", "ending"])
def test_what_is_not_promised_any_more_is_there_for_others(why: str) -> None:
    @virtual_time
    async def scenario() -> None:
        state, urgent = empty_state(), promised("urgent", "n1")
        waiting = await refused_for(state, urgent)
        finished, ending = copy_of(urgent), copy_of(urgent)
        finished.status.phase, ending.metadata.deletion_timestamp.seconds = "Failed", 1
        match why:
            case "gone":
                state.pod_changed(urgent, None)
            case "finished":
                state.pod_changed(urgent, finished)
            case "ending":
                state.pod_changed(urgent, ending)
            case "bound elsewhere":
                state.pod_changed(urgent, changed(urgent, "n2"))
            case "decided elsewhere":
                state.assume(PodFacts.of(urgent), "n2")
            case "taken back":
                state.pod_changed(urgent, changed(urgent, promise=""))
            case "promised elsewhere":
                state.pod_changed(urgent, changed(urgent, promise="n2"))
        assert waiting.state is not State.UNSCHEDULABLE
        state.validate()

    scenario()


@virtual_time
async def test_who_comes_to_the_promised_node_frees_nothing() -> None:
    state, urgent = empty_state(), promised("urgent", "n1")
    waiting = await refused_for(state, urgent)
    state.assume(PodFacts.of(urgent), "n1")
    state.pod_changed(urgent, changed(urgent, "n1"))
    assert waiting.state is State.UNSCHEDULABLE


@pytest.mark.parametrize(("leaves", "tried"), [("1", ["urgent"]), ("2", ["low", "urgent"])])
def test_room_that_is_promised_wakes_only_whom_it_is_for(leaves: str, tried: list[str]) -> None:
    @virtual_time
    async def scenario() -> None:
        state = SchedulerState(SchedulerSettings(), Objects(), asyncio.get_running_loop().time)
        state.node_changed(None, node("n1", cpu="2"))
        victims = [pod("victim", leaves, node_name="n1"), pod("stays", "1" if leaves == "1" else "0", node_name="n1")]
        for found in (*victims, promised("urgent", "n1"), pod("low", "1", priority=5)):
            state.pod_changed(None, found)
        waiting = [await state.queue.take() for _ in range(2)]
        for one in waiting:
            nodes = state.nominations.seen_by(one.pod, state.table)
            state.queue.refuse(one, decide(nodes, state.profiles[DEFAULT_SCHEDULER], one.pod, random.Random(0)).refused_by)
        state.pod_changed(victims[0], None)
        assert sorted(one.pod.key.name for one in waiting if one.state is not State.UNSCHEDULABLE) == tried

    scenario()


@virtual_time
async def test_a_promise_that_was_taken_over_does_not_come_back_with_late_news() -> None:
    state, urgent = empty_state(), promised("urgent", "n1")
    state.pod_changed(None, urgent)
    # One of higher priority is promised the node: what the pod says of itself is to be written yet.
    state.withdraw(urgent.metadata.uid)
    late = changed(urgent, news="1")
    state.pod_changed(urgent, late)
    assert not state.nominations.node_of(urgent.metadata.uid)
    state.pod_changed(late, changed(late, promise=""))
    assert not state.nominations.node_of(urgent.metadata.uid)


@virtual_time
async def test_a_promise_is_kept_that_the_api_does_not_tell_of_yet() -> None:
    state, urgent = empty_state(), pod("urgent", "1", priority=10)
    state.pod_changed(None, urgent)
    state.promise(PodFacts.of(urgent), "n1")
    state.pod_changed(urgent, changed(urgent, news="1"))
    assert state.nominations.node_of(urgent.metadata.uid) == "n1"


@virtual_time
async def test_a_binding_that_fails_leaves_the_promise() -> None:
    state, urgent = empty_state(), promised("urgent", "n1")
    state.pod_changed(None, urgent)
    waiting = await state.queue.take()
    state.assume(waiting.pod, "n1")
    state.forget(waiting.pod)
    assert state.nominations.node_of(urgent.metadata.uid) == "n1"
    # Of a pod that is gone, or about to be, nothing is left.
    state.assume(waiting.pod, "n1")
    ending = copy_of(urgent)
    ending.metadata.deletion_timestamp.seconds = 1
    state.pod_changed(urgent, ending)
    state.forget(waiting.pod)
    assert not state.nominations.node_of(urgent.metadata.uid)


async def with_two_nodes() -> Fixture:
    """A pod of low priority on each of two nodes; neither goes before its node lets it go, and there is none."""
    made = fixture()
    made.api.seed(node("n2", cpu="1"))
    return made


@pytest.mark.parametrize("what", ["cordoned", "tainted", "removed"])
def test_nobody_waits_for_a_node_that_will_not_do_any_more(what: str) -> None:
    @virtual_time
    async def scenario() -> None:
        made = await with_two_nodes()
        async with made.running():
            for name in ("low-1", "low-2"):
                await made.client.create(pod(name, "1"))
            await asyncio.sleep(1)
            await made.client.create(classed("urgent", 10))
            await asyncio.sleep(15)
            first = (await made.pod("urgent")).status.nominated_node_name
            assert first
            found = await made.client.get(core.Node, first)
            if what == "cordoned":
                found.spec.unschedulable = True
            elif what == "tainted":
                found.spec.taints.add(key="node.kubernetes.io/unreachable", effect="NoSchedule")
            if what == "removed":
                await made.client.delete(core.Node, first)
            else:
                await made.client.update(found)
            await asyncio.sleep(15)
            assert (await made.pod("urgent")).status.nominated_node_name == {"n1": "n2", "n2": "n1"}[first]
            assert all([(await made.pod(name)).metadata.HasField("deletion_timestamp") for name in ("low-1", "low-2")])

    scenario()


@virtual_time
async def test_who_loses_the_promised_node_looks_for_another_one_at_once() -> None:
    made = await with_two_nodes()
    async with made.running():
        await made.client.create(classed("middle", 5))
        await asyncio.sleep(1)
        await made.client.create(pod("low", "1"))
        await asyncio.sleep(1)
        low = (await made.pod("low")).spec.node_name
        await made.client.create(classed("urgent", 10))
        await asyncio.sleep(15)
        assert (await made.pod("urgent")).status.nominated_node_name == low
        await made.client.create(classed("highest", 20))
        await asyncio.sleep(15)
        assert (await made.pod("highest")).status.nominated_node_name == low
        assert (await made.pod("urgent")).status.nominated_node_name == (await made.pod("middle")).spec.node_name


@virtual_time
async def test_nobody_goes_before_the_promise_is_written() -> None:
    made = fixture()
    async with made.running():
        await made.client.create(pod("low", "1"))
        await asyncio.sleep(1)
        refusal = status_error("InternalError", "not now")
        made.api.fail_next(refusal, verb="patch", message_type=core.Pod, subresource="status")
        await made.client.create(classed("urgent", 10))
        await asyncio.sleep(0.5)
        assert not (await made.pod("low")).metadata.HasField("deletion_timestamp")
        await asyncio.sleep(15)
        assert (await made.pod("low")).metadata.HasField("deletion_timestamp")
        assert (await made.pod("urgent")).status.nominated_node_name == "n1"


@virtual_time
async def test_no_more_go_once_the_pod_itself_is_gone() -> None:
    made = fixture(cpu="2")
    async with made.running():
        for name in ("low-1", "low-2"):
            await made.client.create(pod(name, "1"))
        await asyncio.sleep(1)
        urgent = classed("urgent", 10, cpu="2")
        made.api.latency_seconds = 0.2
        await made.client.create(urgent)
        # The promise, then two writes for each one that is to go.
        await asyncio.sleep(0.3)
        await made.client.delete(core.Pod, "urgent", "default", grace_period_seconds=0)
        await asyncio.sleep(5)
        made.api.latency_seconds = 0.0
        going = [(await made.pod(name)).metadata.HasField("deletion_timestamp") for name in ("low-1", "low-2")]
        assert not all(going)
        assert not made.scheduler.state.nominations.before(PodFacts.of(pod("any")))


@virtual_time
async def test_who_goes_already_is_not_told_again() -> None:
    made = fixture()
    async with made.running():
        await let_it_wait(made)
        await made.client.create(classed("highest", 20))
        await asyncio.sleep(1)
        assert (await made.pod("highest")).status.nominated_node_name == "n1"
        assert len(made.events("Preempted")) == 1
        assert [write.key.name for write in made.api.writes if write.verb == "delete"] == ["low"]


@virtual_time
async def test_explain_knows_of_promises() -> None:
    made = fixture()
    async with made.running():
        other = pod("other", "1")
        other.spec.scheduler_name = "somebody"
        await made.client.create(other)
        await asyncio.sleep(1)
        assert [verdict.refused_by for verdict in (await made.scheduler.explain("default", "other")).explanation.verdicts] == [""]
        made.scheduler.state.promise(PodFacts.of(pod("urgent", "1", priority=10)), "n1")
        assert [verdict.refused_by for verdict in (await made.scheduler.explain("default", "other")).explanation.verdicts] == [
            "NodeResourcesFit"
        ]


@virtual_time
async def test_a_promise_that_cannot_be_taken_back_holds_up_nobody() -> None:
    made = fixture()
    async with made.running():
        await made.client.create(pod("low", "1"))
        await asyncio.sleep(1)
        await made.client.create(classed("urgent", 11))
        await asyncio.sleep(1)
        state, low, urgent = made.scheduler.state, await made.pod("low"), await made.pod("urgent")
        highest = PodFacts.of(pod("highest", "1", priority=20))
        state.promise(highest, "n1")
        made.api.fail_next(status_error("Forbidden", "never"), verb="patch", message_type=core.Pod, subresource="status")
        plan = Plan(Preemption("n1", (PodFacts.of(low),), 0), behind=[PodFacts.of(urgent)])
        await made.scheduler.preempter.carry_out(highest, plan)
        assert (await made.pod("low")).metadata.HasField("deletion_timestamp")
        state.withdraw(highest.uid)
