"""Whole zones and clusters that fail: which nodes get the taint that their pods leave for, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from knarr.objects.conditions import condition_status
from knarr.objects.keys import is_deleting
from knarr.objects.labels import REGION, ZONE
from services.controller.controllers.nodelifecycle.controller import NodeLifecycleController
from services.controller.settings import EvictionRates
from tests.controller.cluster import Cluster, cluster
from tests.controller.nodes import beat, beating, lease, named, say
from tests.controller.objects import node, pod
from tests.controller.refusals import refuse_update
from tests.support.virtual_time import virtual_time

HERE = {REGION: "here", ZONE: "a"}
# Longer than any of these tests: nobody is silent in them.
NEVER_SECONDS = 100_000.0


@asynccontextmanager
async def nodes(*found: core.Node, grace_seconds: float = NEVER_SECONDS, **settings: Any) -> AsyncIterator[Cluster]:
    """The controller alone, with these nodes, which do not beat by themselves; it finds what ``found`` says."""
    async with cluster(
        kubelet=False, controllers=(NodeLifecycleController,), found=found, node_grace_seconds=grace_seconds, **settings
    ) as c:
        yield c


def in_zone(zone: str, *names: str, ready: str = "True") -> list[core.Node]:
    made = [node(name, ready) for name in names]
    for one in made:
        one.metadata.labels.update({REGION: "here", ZONE: zone} if zone else {})
    return made


def numbered(first: int, last: int) -> list[str]:
    return [f"node-{number:02}" for number in range(first, last + 1)]


def tainted(c: Cluster, effect: str = "NoExecute") -> list[str]:
    return [found.metadata.name for found in c.api.all(core.Node) if any(taint.effect == effect for taint in found.spec.taints)]


async def fall(c: Cluster, names: Iterable[str], ready: str = "False") -> None:
    for name in names:
        await say(c, name, ready)


async def rest() -> None:
    """Until all that is to be done at once is done."""
    await asyncio.sleep(0.5)


@virtual_time
async def test_nodes_of_a_healthy_zone_lose_their_pods_one_after_the_other() -> None:
    async with nodes(*in_zone("a", *numbered(1, 12))) as c:
        await fall(c, numbered(1, 4))
        await rest()
        assert tainted(c, "NoSchedule") == numbered(1, 4)
        for last in (1, 2, 3, 4):
            assert tainted(c) == numbered(1, last)
            await asyncio.sleep(9)
            assert tainted(c) == numbered(1, last)
            await asyncio.sleep(1)
        assert not c.events("EvictionsStopped") and not c.events("ZonePartialDisruption")
        assert REGISTRY.get_sample_value("node_collector_zone_size", {"zone": "here:\0:a"}) == 12
        assert REGISTRY.get_sample_value("node_collector_unhealthy_nodes_in_zone", {"zone": "here:\0:a"}) == 4
        assert REGISTRY.get_sample_value("node_collector_zone_health", {"zone": "here:\0:a"}) == pytest.approx(100 * 8 / 12)


@virtual_time
async def test_a_small_zone_that_is_mostly_gone_loses_no_more_pods_until_it_is_better() -> None:
    async with nodes(*in_zone("a", *numbered(1, 5)), *in_zone("b", "other")) as c:
        await fall(c, numbered(1, 3))
        await asyncio.sleep(1000)
        # The first one fell in a zone that was still well.
        assert tainted(c) == numbered(1, 1)
        assert [told.partition(":")[0] for told in c.events("ZonePartialDisruption")] == ["3 of 5 nodes of zone here/a are not ready"]
        assert "no further node" in c.events("ZonePartialDisruption")[0]
        await say(c, "node-03", "True")
        await rest()
        assert c.events("ZoneNormal") and tainted(c) == numbered(1, 1)
        await asyncio.sleep(10)
        assert tainted(c) == numbered(1, 2)


@virtual_time
async def test_a_large_zone_that_is_mostly_gone_loses_pods_slowly() -> None:
    async with nodes(*in_zone("a", *numbered(1, 6)), eviction_rates=EvictionRates(large_zone=5)) as c:
        await fall(c, numbered(1, 5))
        await asyncio.sleep(99)
        assert tainted(c) == numbered(1, 1)
        await asyncio.sleep(2)
        assert tainted(c) == numbered(1, 2)
        await asyncio.sleep(100)
        assert tainted(c) == numbered(1, 3)


@virtual_time
async def test_at_a_rate_of_nought_no_node_is_left() -> None:
    never = EvictionRates(per_second=0.0)
    async with nodes(*in_zone("a", *numbered(1, 4)), *in_zone("a", "found", ready="Unknown"), eviction_rates=never) as c:
        await fall(c, numbered(1, 1))
        await asyncio.sleep(100)
        assert tainted(c) == [] and len(tainted(c, "NoSchedule")) == 2


@virtual_time
async def test_one_zone_that_is_down_is_left_as_fast_as_any_other() -> None:
    async with nodes(*in_zone("a", *numbered(1, 3)), *in_zone("b", "other")) as c:
        await fall(c, numbered(1, 3))
        await asyncio.sleep(25)
        assert tainted(c) == numbered(1, 3)
        assert c.events("ZoneFullDisruption") and not c.events("EvictionsStopped")
        # Zones have turns of their own.
        await fall(c, ["other"])
        await rest()
        assert tainted(c) == []


@virtual_time
async def test_a_node_alone_that_is_silent_keeps_its_pods() -> None:
    async with nodes(node(), grace_seconds=40.0) as c:
        hasty = pod("hasty", node="node-1", phase="Running")
        c.api.seed(lease("node-1"), hasty)
        await asyncio.sleep(600)
        assert condition_status(named(c, "node-1").status, "Ready") == "Unknown"
        assert tainted(c, "NoSchedule") == ["node-1"] and tainted(c) == []
        assert not is_deleting(c.api.all(core.Pod)[0])
        assert len(c.events("EvictionsStopped")) == 1
        await beat(c, "node-1")
        await say(c, "node-1")
        await rest()
        assert tainted(c, "NoSchedule") == [] and len(c.events("EvictionsResumed")) == 1


@virtual_time
async def test_when_the_last_node_falls_silent_taints_are_taken_off_and_evictions_called_off() -> None:
    async with nodes(node("node-1"), node("node-2"), grace_seconds=40.0) as c:
        patient = pod("patient", node="node-1", phase="Running", ready=True)
        patient.spec.tolerations.add(key="node.kubernetes.io/unreachable", operator="Exists", effect="NoExecute", toleration_seconds=60)
        c.api.seed(lease("node-1"), lease("node-2"), patient)
        for _ in range(4):
            await asyncio.sleep(10)
            await beat(c, "node-2")
        await c.until(lambda: tainted(c) == ["node-1"], 2)
        await c.until(lambda: c.events("EvictionsStopped"), 41)
        await rest()
        assert tainted(c) == [] and len(tainted(c, "NoSchedule")) == 2
        assert c.events("TaintManagerEviction") == ["Cancelling deletion of Pod default/patient"]
        await asyncio.sleep(1000)
        assert tainted(c) == [] and not is_deleting(c.api.all(core.Pod)[0])
        # One comes back: the other one's turn comes as late as that of any node after another.
        await beat(c, "node-2")
        await say(c, "node-2")
        await asyncio.sleep(9)
        assert tainted(c) == []
        await c.until(lambda: tainted(c) == ["node-1"], 2)


@virtual_time
async def test_when_the_last_node_that_is_well_is_deleted_no_pods_are_evicted_either() -> None:
    async with nodes(node("node-1"), node("node-2")) as c:
        await fall(c, ["node-1"])
        await rest()
        assert tainted(c) == ["node-1"]
        await c.client.delete(core.Node, "node-2")
        await rest()
        assert tainted(c) == []


@virtual_time
async def test_once_one_is_back_all_others_have_their_grace_anew() -> None:
    """One that was late, but not too late, when all were called silent is no later for that."""
    async with nodes(*in_zone("a", *numbered(1, 3), ready="False"), grace_seconds=40.0) as c:
        for number in (1, 2, 3):
            c.api.seed(lease(f"node-{number:02}"))
        await asyncio.sleep(35)
        await say(c, "node-01")
        await asyncio.sleep(35)
        assert [condition_status(found.status, "Ready") for found in c.api.all(core.Node)] == ["True", "False", "False"]
        await asyncio.sleep(6)
        assert [condition_status(found.status, "Ready") for found in c.api.all(core.Node)] == ["Unknown"] * 3


@virtual_time
async def test_a_leader_that_finds_many_nodes_gone_takes_its_time() -> None:
    async with nodes(*in_zone("a", *numbered(1, 4), ready="Unknown"), *in_zone("a", *numbered(5, 9))) as c:
        await rest()
        assert len(tainted(c)) == 1
        await asyncio.sleep(10)
        assert len(tainted(c)) == 2


@virtual_time
async def test_a_leader_that_finds_all_nodes_gone_takes_off_what_another_one_laid() -> None:
    found = in_zone("", "node-1", "node-2", ready="Unknown")
    found[0].spec.taints.add(key="node.kubernetes.io/unreachable", effect="NoExecute")
    async with nodes(*found) as c:
        c.api.seed(pod("hasty", node="node-1", phase="Running"))
        await asyncio.sleep(100)
        assert tainted(c) == [] and not is_deleting(c.api.all(core.Pod)[0])


@virtual_time
async def test_a_node_that_is_well_again_before_its_turn_gets_no_taint() -> None:
    async with nodes(*in_zone("a", *numbered(1, 12))) as c:
        await fall(c, numbered(1, 3))
        await asyncio.sleep(5)
        await say(c, "node-02")
        await asyncio.sleep(6)
        # Nor has anybody lost a turn by it.
        assert tainted(c) == ["node-01", "node-03"]
        writes = [write for write in c.api.writes if write.key.name == "node-02" and write.subresource == ""]
        assert not any(
            taint.effect == "NoExecute" for write in writes if isinstance(write.obj, core.Node) for taint in write.obj.spec.taints
        )


@virtual_time
async def test_a_node_that_is_deleted_before_its_turn_leaves_it_to_the_next() -> None:
    async with nodes(*in_zone("a", *numbered(1, 12))) as c:
        await fall(c, numbered(1, 3))
        await asyncio.sleep(5)
        await c.client.delete(core.Node, "node-02")
        await asyncio.sleep(6)
        assert tainted(c) == ["node-01", "node-03"]


@virtual_time
async def test_a_node_that_moves_to_another_zone_has_its_turn_there() -> None:
    async with nodes(*in_zone("a", *numbered(1, 12)), *in_zone("b", "other", "another")) as c:
        await fall(c, numbered(1, 3))
        await asyncio.sleep(2)
        await c.edit(core.Node, "node-03", lambda found: found.metadata.labels.update({ZONE: "b"}), "")
        await rest()
        assert tainted(c) == ["node-01", "node-03"]


@virtual_time
async def test_a_taint_that_could_not_be_written_is_tried_again_and_costs_one_turn() -> None:
    async with nodes(*in_zone("a", *numbered(1, 12))) as c:
        c.api.fail_next(status_error("ServiceUnavailable", "not now"), verb="update", message_type=core.Node, subresource="", times=3)
        await fall(c, numbered(1, 2))
        await asyncio.sleep(5)
        assert tainted(c) == numbered(1, 1)
        await asyncio.sleep(6)
        assert tainted(c) == numbered(1, 2)


@virtual_time
async def test_a_node_that_may_not_be_changed_keeps_no_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = EvictionRates(per_second=0.02)
    async with nodes(*in_zone("a", *numbered(1, 3)), grace_seconds=40.0, eviction_rates=slow) as c, beating(c, *numbered(4, 9), **HERE):
        await fall(c, numbered(1, 3))
        await rest()
        # It waits for its turn, and falls silent before that.
        refuse_update(monkeypatch, "node-02")
        await asyncio.sleep(110)
        assert tainted(c) == ["node-01", "node-03"]


@virtual_time
async def test_what_is_laid_is_exchanged_at_once() -> None:
    async with nodes(*in_zone("a", *numbered(1, 12))) as c:
        await fall(c, numbered(1, 2))
        await asyncio.sleep(11)
        await fall(c, numbered(1, 2), "Unknown")
        await rest()
        keys = {taint.key for name in numbered(1, 2) for taint in named(c, name).spec.taints if taint.effect == "NoExecute"}
        assert keys == {"node.kubernetes.io/unreachable"} and tainted(c) == numbered(1, 2)


@virtual_time
async def test_a_node_of_three_is_left_as_soon_as_it_is_missed() -> None:
    async with nodes(node(), grace_seconds=40.0) as c, beating(c, "node-2", "node-3"):
        c.api.seed(lease("node-1"))
        await c.until(lambda: tainted(c) == ["node-1"], 41)
