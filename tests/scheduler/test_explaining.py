"""Golden explanations: what is told of the pod `x` among the objects of a file, to a person and to programs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.scheduler.v1 import explain_pb2
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.machinery import codec
from knarr.objects.amounts import shown
from knarr.service.virtual_time import SoleVirtualLoop, run
from services.command.placement import told
from services.scheduler.hindrances import Hindrances
from services.scheduler.plugins.node_affinity.plugin import NodeAffinity
from services.scheduler.plugins.ports.plugin import Ports
from services.scheduler.plugins.resources.plugin import Resources
from services.scheduler.plugins.taints.plugin import Taints
from services.scheduler.plugins.unschedulable.plugin import Unschedulable
from services.scheduler.servicer import SchedulerServicer
from tests.scheduler.clusters import CLUSTERS, table_of
from tests.scheduler.contested import classed, fixture, let_it_wait
from tests.scheduler.objects import Objects, node, pod
from tests.scheduler.test_component import Fixture
from tests.support import golden
from tests.support.virtual_time import virtual_time

FILES = Path(__file__).parent / "explained"
LOCAL = (Unschedulable, Taints, NodeAffinity, Ports, Resources)
TYPES: dict[str, Any] = {"Node": core.Node, "Pod": core.Pod, "PriorityClass": scheduling.PriorityClass}


def load(path: Path) -> list[Any]:
    found = []
    for document in yaml.safe_load_all(path.read_text()):
        obj: Any = codec.from_json(TYPES[document["kind"]], document, codec.UnknownFields.REJECT).message
        if isinstance(obj, core.Pod):
            obj.metadata.namespace, obj.metadata.uid = "default", f"uid-{obj.metadata.name}"
        found.append(obj)
    return found


async def explained(made: Fixture, name: str = "x") -> explain_pb2.ExplainResponse:
    return await SchedulerServicer(made.scheduler).Explain(explain_pb2.ExplainRequest(pod=name), None)


@pytest.mark.parametrize("path", sorted(FILES.glob("*.input.yaml")), ids=lambda path: path.name.partition(".")[0])
def test_what_is_told(path: Path, request: pytest.FixtureRequest) -> None:
    answers = list[explain_pb2.ExplainResponse]()

    async def ask() -> None:
        *others, asked = load(path)
        made = Fixture()
        made.api.seed(*others)
        async with made.running():
            await made.client.create(asked)
            await asyncio.sleep(0.5)
            answers.append(await explained(made))

    # Threads, too, would take virtual time, as much as the machine lets them.
    run(ask(), loop=SoleVirtualLoop)
    (answer,) = answers
    rest = MessageToDict(answer)
    for told_already in ("filters", "weights"):
        rest.pop(told_already)
    expected = path.with_name(path.name.replace(".input.", ".output."))
    golden.check(expected, yaml.safe_dump({"answer": rest, "text": [line.rstrip() for line in told(answer)]}, sort_keys=True, width=200))


@virtual_time
async def test_why_a_victim_goes_is_told_of_it_and_of_whom_it_goes_for() -> None:
    made = fixture()
    async with made.running():
        await let_it_wait(made)
        urgent, low = await explained(made, "urgent"), await explained(made, "low")
        assert urgent.eviction.decided and [victim.pod for victim in urgent.eviction.victims] == ["low"]
        assert urgent.eviction.why == "it is the only node on which room can be made"
        assert low.eviction_reason == (
            "it goes for default/urgent of priority 10, to which n1 was promised: it is the only node on which room can be made"
        )
        await made.client.delete(core.Pod, "low", "default", grace_period_seconds=0)
        await asyncio.sleep(15)
        urgent = await explained(made, "urgent")
        assert urgent.standing == "it is on n1" and not urgent.HasField("eviction") and not urgent.eviction_reason
        assert not made.scheduler.preempter._decided


@virtual_time
async def test_why_no_room_is_made() -> None:
    made = fixture()
    async with made.running():
        await made.client.create(pod("low", "1"))
        await asyncio.sleep(1)
        await made.client.create(classed("polite", 11))
        await asyncio.sleep(1)
        assert (await explained(made, "polite")).eviction_reason == "preemption: not eligible due to preemptionPolicy=Never."


@virtual_time
async def test_where_it_waits_for_how_long_and_what() -> None:
    made = Fixture(node("n1", "1"))
    async with made.running():
        await made.client.create(pod("x", "2"))
        await asyncio.sleep(0.5)
        found = await explained(made)
        assert found.standing == "after 1 attempt it waits until something happens that may help it, for 300 s at most"
        (awaits,) = found.queued.awaits
        classes = "device class metadata.creationTimestamp; device class spec.extendedResourceName"
        assert awaits.startswith(f"NodeResourcesFit: {classes}; node status.allocatable; pods that leave a node; its own spec.containers")
        made.api.seed(node("n2", "1", pods="109"))
        await asyncio.sleep(0.1)
        assert (await explained(made)).queued.state == "unschedulable"
        strange = pod("s")
        strange.spec.scheduler_name = "other"
        await made.client.create(strange)
        await asyncio.sleep(0.1)
        assert (await explained(made, "s")).standing == "another scheduler is to place it: other"


@given(CLUSTERS)
@settings(max_examples=80, deadline=None)
def test_a_pod_that_asks_for_that_much_less_fits_there_and_no_less_does(cluster: Any) -> None:
    nodes, placed, waiting = cluster
    table = table_of(nodes, placed)
    fit = Resources(Objects())
    for facts in waiting:
        for row in table.rows.values():
            lacks = fit.lacks(facts, table, row)
            if not lacks or any(lack.free < 0 for lack in lacks.values()):
                continue
            for short in (0, 1):
                asked = {**facts.requests, **{name: lack.asked - lack.missing + short for name, lack in lacks.items() if name != "pods"}}
                changed = replace(facts, requests=asked)
                expected = not short and "pods" not in lacks
                assert fit.accepts(changed, table, row) is expected


@given(CLUSTERS)
@settings(max_examples=80, deadline=None)
def test_all_that_refuse_a_node_are_told_and_a_remedy_is_for_nodes_with_one_hindrance(cluster: Any) -> None:
    nodes, placed, waiting = cluster
    table = table_of(nodes, placed)
    for facts in waiting:
        filters = [plugin(Objects()) for plugin in LOCAL]
        found = Hindrances(table, filters, facts)
        for name, row in table.rows.items():
            masks = {plugin.name: plugin.filter(facts, table) for plugin in filters}
            assert [one.filter for one in found.of(name)] == [by for by, mask in masks.items() if mask is not None and not mask[row]]
        told_of = {name for remedy in found.remedies() for name in remedy.nodes}
        assert told_of >= {name for name, row in table.rows.items() if len(found.of(name)) == 1 and table.allocatable["pods"][row]}
        assert not told_of & {name for name in table.rows if not found.of(name)}


@pytest.mark.parametrize(
    ("resource", "amount", "up", "words"),
    [
        ("cpu", 300, False, "300m"),
        ("cpu", 2000, False, "2"),
        ("memory", 1536 << 20, False, "1536Mi"),
        ("memory", 2 << 30, False, "2Gi"),
        ("memory", (200 << 30) + 1, True, "201Gi"),
        ("memory", (200 << 30) + 1, False, "200Gi"),
        ("memory", 7, True, "7"),
        ("example.com/gpu", 3, True, "3"),
        ("memory", 0, True, "0"),
    ],
)
def test_amounts_are_told_as_people_write_them(resource: str, amount: int, up: bool, words: str) -> None:
    assert shown(resource, amount, up=up) == words
