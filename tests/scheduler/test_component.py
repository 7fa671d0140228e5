"""The whole scheduler on the API server in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduler.v1 import explain_pb2
from knarr.api.scheduler.v1 import scheduler_service_pb2 as api
from knarr.client.leader import Election
from knarr.machinery.errors import StatusError, status_error
from knarr.objects.conditions import get_condition
from services.scheduler.component import Scheduler
from services.scheduler.nodes import Mask, Nodes
from services.scheduler.plugin import Plugin
from services.scheduler.plugins.resources.plugin import Resources
from services.scheduler.plugins.volumebinding.plugin import VolumeBinding
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import NOT_HELPFUL
from services.scheduler.profile import ProfileSettings
from services.scheduler.servicer import SchedulerServicer
from services.scheduler.settings import SchedulerSettings
from tests.scheduler.objects import NeedsTeam, node, pod
from tests.support.api import FaultyApi
from tests.support.rights import SCHEDULER
from tests.support.virtual_time import VirtualClock, virtual_time


class Fixture:
    def __init__(self, *nodes: core.Node, settings: SchedulerSettings | None = None) -> None:
        self.api = FaultyApi(VirtualClock())
        self.api.seed(*nodes)
        self.client = self.api.client()
        self.scheduler = Scheduler(self.api.client(SCHEDULER), settings or SchedulerSettings(seed=1), clock=VirtualClock())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.scheduler.run())
        try:
            yield
            self.scheduler.state.validate()
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def pod(self, name: str) -> core.Pod:
        return await self.client.get(core.Pod, name, "default")

    def events(self, reason: str) -> list[str]:
        return [event.message for event in self.api.all(core.Event) if event.reason == reason]


@virtual_time
async def test_a_pod_is_bound_and_told() -> None:
    fixture = Fixture(node("n1"))
    async with fixture.running():
        await fixture.client.create(pod("a", cpu="1"))
        await asyncio.sleep(1)
        bound = await fixture.pod("a")
        assert bound.spec.node_name == "n1"
        assert get_condition(bound.status, "PodScheduled").status == "True"  # type: ignore[union-attr]
        assert fixture.events("Scheduled") == ["Successfully assigned default/a to n1"]
        assert fixture.scheduler.ready and not fixture.scheduler.state.assumed
        assert len(fixture.scheduler.state.queue) == 0


@virtual_time
@pytest.mark.parametrize("amount", ["1e400", "9223372036854775807", "1E"])
@pytest.mark.parametrize("resource", ["cpu", "memory"])
async def test_no_amount_is_too_large_to_be_refused(resource: str, amount: str) -> None:
    huge = node("n2")
    huge.status.allocatable[resource].string = amount
    huge.spec.unschedulable = True
    fixture = Fixture(node("n1"), huge)
    async with fixture.running():
        await fixture.client.create(pod("small", cpu="1m"))
        await asyncio.sleep(0.5)
        assert (await fixture.pod("small")).spec.node_name == "n1"
        for name in ("a", "b"):
            greedy = pod(name, cpu="1m")
            greedy.spec.containers[0].resources.requests[resource].string = amount
            await fixture.client.create(greedy)
        await asyncio.sleep(0.5)
        assert not (await fixture.pod("a")).spec.node_name
        told = fixture.events("FailedScheduling")
        assert len(told) == 2 and all(f"1 Insufficient {resource}" in message for message in told)


@virtual_time
async def test_a_pod_that_fits_nowhere_is_told_why_in_event_condition_and_explain() -> None:
    tainted = node("n2")
    tainted.spec.taints.add(key="role", value="control", effect="NoSchedule")
    fixture = Fixture(node("n1", cpu="1"), tainted)
    async with fixture.running():
        await fixture.client.create(pod("a", cpu="2"))
        await asyncio.sleep(0.5)
        message = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s)."
        told = f"{message} preemption: 0/2 nodes are available: 2 {NOT_HELPFUL}."
        assert fixture.events("FailedScheduling") == [told]
        condition = get_condition((await fixture.pod("a")).status, "PodScheduled")
        assert condition is not None
        assert (condition.status, condition.reason, condition.message) == ("False", "Unschedulable", told)
        assert condition.last_transition_time.seconds and condition.observed_generation == 1
        servicer = SchedulerServicer(fixture.scheduler)
        # Asked first: what explains is loaded by a thread, and virtual time runs away from that.
        queue = await servicer.GetQueue(api.GetQueueRequest(), None)
        assert [(entry.pod, entry.state, entry.attempts, list(entry.refused_by)) for entry in queue.pods] == [
            ("a", "unschedulable", 1, ["NodeResourcesFit", "TaintToleration"])
        ]
        assert 299 <= queue.pods[0].retry_in_seconds <= 300
        answer = await servicer.Explain(explain_pb2.ExplainRequest(namespace="default", pod="a"), None)
        assert answer.summary == message and answer.choice == ""
        assert [(verdict.node, verdict.refused_by) for verdict in answer.verdicts] == [
            ("n1", "NodeResourcesFit"),
            ("n2", "TaintToleration"),
        ]


@pytest.mark.parametrize("help_", ["node added", "pod deleted", "node grown", "taint removed", "pod finished"])
def test_what_helps_makes_a_pod_schedulable_again(help_: str) -> None:
    @virtual_time
    async def scenario() -> None:
        tainted = node("tainted")
        tainted.spec.taints.add(key="role", value="control", effect="NoSchedule")
        fixture = Fixture(node("n1", cpu="1"), tainted)
        fixture.api.seed(pod("resident", cpu="1", node_name="n1"))
        async with fixture.running():
            await fixture.client.create(pod("a", cpu="1"))
            await asyncio.sleep(30)
            assert (await fixture.pod("a")).spec.node_name == ""
            await help_with(fixture, help_)
            await asyncio.sleep(1.5)
            assert (await fixture.pod("a")).spec.node_name

    scenario()


async def help_with(fixture: Fixture, help_: str) -> None:
    client = fixture.client
    if help_ == "node added":
        fixture.api.seed(node("n3"))
    elif help_ == "pod deleted":
        await client.delete(core.Pod, "resident", "default", grace_period_seconds=0)
    elif help_ == "pod finished":
        resident = await fixture.pod("resident")
        resident.status.phase = "Succeeded"
        await client.update(resident, subresource="status")
    elif help_ == "node grown":
        grown = await client.get(core.Node, "n1")
        grown.status.allocatable["cpu"].string = "2"
        await client.update(grown, subresource="status")
    else:
        cleared = await client.get(core.Node, "tainted")
        del cleared.spec.taints[:]
        await client.update(cleared)


@virtual_time
async def test_a_change_of_a_namespace_helps_where_a_plugin_declares_that_it_reads_it() -> None:
    known = node("n1")
    known.status.node_info.kernel_version = "6.1"
    fixture = Fixture(known, settings=SchedulerSettings(profiles=(ProfileSettings.of([NeedsTeam]),)))
    async with fixture.running():
        await fixture.client.create(pod("a"))
        await asyncio.sleep(30)
        assert (await fixture.pod("a")).spec.node_name == ""
        namespace = await fixture.client.get(core.Namespace, "default")
        namespace.metadata.labels["team"] = "blue"
        await fixture.client.update(namespace)
        await asyncio.sleep(1.5)
        assert (await fixture.pod("a")).spec.node_name == "n1"


@virtual_time
async def test_what_does_not_help_leaves_it_alone() -> None:
    fixture = Fixture(node("n1", cpu="1"))
    async with fixture.running():
        await fixture.client.create(pod("a", cpu="2"))
        await asyncio.sleep(30)
        labelled = await fixture.client.get(core.Node, "n1")
        labelled.metadata.labels["colour"] = "red"
        await fixture.client.update(labelled)
        fixture.api.seed(node("tiny", cpu="1"))
        await asyncio.sleep(30)
        [waiting] = fixture.scheduler.state.queue.entries()
        assert waiting.attempts == 1


@virtual_time
async def test_a_failed_binding_is_taken_back_and_tried_again() -> None:
    fixture = Fixture(node("n1", cpu="1"))
    async with fixture.running():
        fixture.api.fail_next(status_error("ServiceUnavailable", "down"), verb="create", subresource="binding", times=2)
        await fixture.client.create(pod("a", cpu="1"))
        await asyncio.sleep(0.5)
        assert not fixture.scheduler.state.table.node_of((await fixture.pod("a")).metadata.uid)
        await asyncio.sleep(4)
        assert (await fixture.pod("a")).spec.node_name == "n1"


@virtual_time
async def test_a_lost_reply_to_a_binding_does_no_harm() -> None:
    fixture = Fixture(node("n1"), node("n2"))
    async with fixture.running():
        fixture.api.fail_next(status_error("ServiceUnavailable", "down"), verb="create", subresource="binding", after=True)
        await fixture.client.create(pod("a", cpu="1"))
        await asyncio.sleep(20)
        bound = await fixture.pod("a")
        assert fixture.scheduler.state.table.node_of(bound.metadata.uid) == bound.spec.node_name != ""
        assert len(fixture.scheduler.state.queue) == 0


@virtual_time
async def test_whether_a_binding_came_about_is_asked_until_it_is_known() -> None:
    fixture = Fixture(node("n1", cpu="1"))
    async with fixture.running():
        fixture.api.fail_next(status_error("ServiceUnavailable", "down"), verb="create", subresource="binding", after=True)
        fixture.api.fail_next(status_error("ServiceUnavailable", "down"), verb="get", message_type=core.Pod, times=4)
        await fixture.client.create(pod("a", cpu="1"))
        await fixture.client.create(pod("b", cpu="1"))
        await asyncio.sleep(20)
        bound = {found.metadata.name: found.spec.node_name for found in fixture.api.all(core.Pod)}
        assert bound == {"a": "n1", "b": ""}
        assert fixture.events("Scheduled") == ["Successfully assigned default/a to n1"]
        assert not any("binding rejected" in words for words in fixture.events("FailedScheduling"))


@virtual_time
async def test_other_schedulers_and_gated_pods_are_left_alone() -> None:
    fixture = Fixture(node("n1"))
    foreign, gated, deleting = pod("foreign"), pod("gated"), pod("mine")
    foreign.spec.scheduler_name = "another"
    gated.spec.scheduling_gates.add(name="example.com/wait")
    async with fixture.running():
        for obj in (foreign, gated, deleting):
            await fixture.client.create(obj)
        await asyncio.sleep(5)
        assert [(await fixture.pod(name)).spec.node_name for name in ("foreign", "gated", "mine")] == ["", "", "n1"]


@virtual_time
async def test_bindings_are_written_concurrently_and_never_over_commit() -> None:
    fixture = Fixture(*(node(f"n{number}", cpu="2") for number in range(5)))
    fixture.api.latency_seconds = 1.0
    async with fixture.running():
        await asyncio.sleep(3)
        for number in range(12):
            fixture.api.seed(pod(f"p{number}", cpu="1"))
        await asyncio.sleep(1.5)
        placed = [obj.spec.node_name for obj in fixture.api.all(core.Pod) if obj.spec.node_name]
        assert len(placed) == 10 and all(placed.count(name) == 2 for name in set(placed))


@virtual_time
async def test_explain_judges_a_placed_pod_as_if_it_had_left() -> None:
    fixture = Fixture(node("n1", cpu="1"), node("n2", cpu="500m"), node("n3", cpu="1"))
    async with fixture.running():
        await fixture.client.create(pod("a", cpu="1"))
        await asyncio.sleep(1)
        found = (await fixture.scheduler.explain("default", "a")).explanation
        refusals = [(verdict.node, verdict.refused_by) for verdict in found.verdicts]
        assert refusals == [("n1", ""), ("n2", "NodeResourcesFit"), ("n3", "")] and found.summary == ""
        with pytest.raises(StatusError, match='pods "b" not found'):
            await fixture.scheduler.explain("default", "b")


@virtual_time
async def test_two_schedulers_elect_one() -> None:
    fixture = Fixture(node("n1"), settings=SchedulerSettings(election=Election("one", held=True)))
    second = Scheduler(fixture.client, SchedulerSettings(election=Election("two", held=True)), clock=VirtualClock())
    async with fixture.running():
        await asyncio.sleep(1)
        task = asyncio.ensure_future(second.run())
        await asyncio.sleep(10)
        assert second.ready
        with pytest.raises(StatusError, match="not active"):
            second.state  # noqa: B018
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual_time
async def test_who_takes_over_in_the_middle_of_bindings_loses_no_pod_and_binds_none_twice() -> None:
    fixture = Fixture(node("n1", cpu="6"), node("n2", cpu="6"), settings=SchedulerSettings(seed=1, election=Election("one", held=True)))
    second = Scheduler(fixture.api.client(SCHEDULER), SchedulerSettings(seed=2, election=Election("two", held=True)), clock=VirtualClock())
    lost = status_error("ServiceUnavailable", "down")
    first = asyncio.ensure_future(fixture.scheduler.run())
    await asyncio.sleep(1)
    then = asyncio.ensure_future(second.run())
    try:
        # Of some bindings the answer is lost, some are refused; whoever asked is gone before it can look.
        fixture.api.fail_next(lost, verb="create", subresource="binding", times=4, after=True)
        fixture.api.fail_next(lost, verb="create", subresource="binding", times=4)
        fixture.api.fail_next(lost, verb="get", message_type=core.Pod, times=1000)
        for number in range(12):
            await fixture.client.create(pod(f"a{number}", cpu="1"))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        fixture.api.heal()
        await asyncio.sleep(60)
        second.state.validate()
        nodes = Counter(found.spec.node_name for found in fixture.api.all(core.Pod))
        assert nodes == {"n1": 6, "n2": 6}
        assert not second.state.assumed and not len(second.state.queue)
    finally:
        then.cancel()
        await asyncio.gather(then, return_exceptions=True)


@virtual_time
async def test_a_pod_that_cannot_be_judged_holds_up_nobody(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    fixture = Fixture(node("n1"))
    judge = Resources.filter

    def broken(self: Resources, facts: PodFacts, nodes: Nodes) -> Mask | None:
        if facts.key.name == "poison":
            raise ValueError("cannot judge")
        return judge(self, facts, nodes)

    monkeypatch.setattr(Resources, "filter", broken)
    async with fixture.running():
        await fixture.client.create(pod("poison"))
        await fixture.client.create(pod("good"))
        await asyncio.sleep(30)
        assert (await fixture.pod("good")).spec.node_name == "n1"
        [waiting] = fixture.scheduler.state.queue.entries()
        assert waiting.pod.key.name == "poison" and 4 <= waiting.attempts <= 6
    assert "deciding failed" in caplog.text


@virtual_time
@pytest.mark.parametrize(
    ("kind", "asked", "cpu"), [(VolumeBinding, "prepare", "1"), (Resources, "release", "8"), (Resources, "mends", "8")]
)
async def test_a_pod_that_a_plugin_fails_at_holds_up_nobody(
    kind: type[Plugin], asked: str, cpu: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is asked, also when something happens that may help pods that wait."""
    fixture = Fixture(node("n1", cpu="4"))
    answer = getattr(kind, asked)

    def broken(self: Plugin, facts: PodFacts, *others: Any) -> Any:
        if facts.key.name == "poison":
            raise ValueError("cannot judge")
        return answer(self, facts, *others)

    monkeypatch.setattr(kind, asked, broken)
    async with fixture.running():
        await fixture.client.create(pod("poison", cpu=cpu))
        await fixture.client.create(pod("good", cpu="1"))
        await fixture.client.create(pod("large", cpu="6"))
        await asyncio.sleep(5)
        assert (await fixture.pod("good")).spec.node_name == "n1" and not (await fixture.pod("large")).spec.node_name
        fixture.api.seed(node("n2", cpu="7"))
        await asyncio.sleep(12)
        assert (await fixture.pod("large")).spec.node_name == "n2"
        assert not (await fixture.pod("poison")).spec.node_name
        assert len(fixture.scheduler.state.queue) == 1 and not fixture.scheduler.state.assumed
    assert "cannot judge" in caplog.text
