"""Pods whose devices get a taint go, when it is tolerated no longer, and only those."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.objects.conditions import get_condition
from services.controller.controllers.devicetainteviction.controller import DeviceTaintEvictionController
from services.controller.controllers.devicetainteviction.decide import ALWAYS, evicted_at
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import NAMESPACE
from tests.controller.refusals import refuse_deletion
from tests.controller.scenarios.devices import asking, device_claim, device_rule, device_slice, give
from tests.support.virtual_time import virtual_time

ALONE = (DeviceTaintEvictionController,)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def claim(*tolerated: dict[str, Any]) -> resource.ResourceClaim:
    made = device_claim("c")
    give(made)
    for toleration in tolerated:
        made.status.allocation.devices.results[0].tolerations.add(**toleration)
    return made


def tainted(effect: str = "NoExecute", **more: Any) -> resource.ResourceSlice:
    made = device_slice(**more)
    taint = made.spec.devices[0].taints.add(key="broken", effect=effect)
    taint.time_added.seconds = int(SINCE.timestamp())
    return made


FOR = {"key": "broken", "operator": "Exists"}


@pytest.mark.parametrize(
    ("given", "slices", "rules", "at"),
    [
        (claim(), [device_slice()], [], None),
        (claim(), [tainted()], [], SINCE),
        (claim(), [tainted("NoSchedule")], [], None),
        (claim(FOR), [tainted()], [], None),
        (claim({**FOR, "toleration_seconds": 30}), [tainted()], [], SINCE + timedelta(seconds=30)),
        (claim({**FOR, "toleration_seconds": 30}, FOR), [tainted()], [], SINCE + timedelta(seconds=30)),
        (claim({**FOR, "toleration_seconds": -5}), [tainted()], [], SINCE),
        (claim({**FOR, "effect": "NoSchedule"}), [tainted()], [], SINCE),
        (claim(), [tainted(device="card-1")], [], None),
        (claim(), [tainted(), device_slice(generation=2)], [], None),
        (claim(), [device_slice()], [device_rule(device="card-0")], ALWAYS),
        (claim(), [device_slice()], [device_rule(device="card-1")], None),
        (claim(), [], [device_rule(driver="cards.example.com")], ALWAYS),
        (claim(), [device_slice()], [device_rule(selects=False)], None),
        (device_claim("c"), [tainted()], [device_rule()], None),
        # As long as a number can say is for good, whatever else is tolerated for less.
        (claim({**FOR, "toleration_seconds": 2**63 - 1}), [tainted()], [], None),
    ],
    ids=range(16),
)
def test_when_pods_have_to_go(given: Any, slices: Any, rules: Any, at: datetime | None) -> None:
    assert evicted_at(given, slices, rules) == at


def pods(c: Cluster) -> dict[str, core.Pod]:
    return {found.metadata.name: found for found in c.api.all(core.Pod)}


def seed(c: Cluster, *users: str, tolerated: int | None = None, nodes: bool = True) -> None:
    for name in users:
        made = asking(name, "shared")
        made.spec.node_name = "n1" if nodes else ""
        c.api.seed(made)
    shared = device_claim("shared")
    give(shared, *(pods(c)[name] for name in users))
    if tolerated is not None:
        shared.status.allocation.devices.results[0].tolerations.add(**FOR, toleration_seconds=tolerated)
    c.api.seed(device_slice(), shared)


@virtual_time
async def test_pods_of_a_device_go_when_a_rule_taints_it_and_others_stay() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        seed(c, "a", "b")
        other = asking("other")
        other.spec.node_name = "n1"
        c.api.seed(other)
        await asyncio.sleep(5)
        assert not any(pod.metadata.HasField("deletion_timestamp") for pod in pods(c).values())
        await c.client.create(device_rule(device="card-0"))
        await c.until(lambda: sum(pod.metadata.HasField("deletion_timestamp") for pod in pods(c).values()) == 2)
        found = pods(c)
        assert not found["other"].metadata.HasField("deletion_timestamp")
        told = get_condition(found["a"].status, "DisruptionTarget")
        assert told is not None and told.status == "True" and told.reason == "DeletionByDeviceTaintManager"
        assert told.message == "Device Taint manager: deleting due to NoExecute taint"
        assert [event.message for event in c.api.all(core.Event) if event.reason == "DeviceTaintManagerEviction"] == [
            "Marking for deletion"
        ] * 2


@virtual_time
async def test_a_pod_that_may_not_be_deleted_keeps_no_others_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_deletion(monkeypatch, "a")
    async with cluster(kubelet=False, controllers=ALONE) as c:
        seed(c, "a", "b", "c")
        await c.client.create(device_rule(device="card-0"))
        await c.until(lambda: all(pods(c)[name].metadata.HasField("deletion_timestamp") for name in ("b", "c")))
        assert not pods(c)["a"].metadata.HasField("deletion_timestamp")
        monkeypatch.undo()
        await c.until(lambda: pods(c)["a"].metadata.HasField("deletion_timestamp"))


@virtual_time
async def test_what_tolerates_a_taint_for_a_while_goes_after_it_unless_the_taint_goes_first() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        seed(c, "a", tolerated=60)
        rule = await c.client.create(device_rule(device="card-0"))
        assert rule.spec.taint.HasField("time_added")
        await asyncio.sleep(30)
        assert not pods(c)["a"].metadata.HasField("deletion_timestamp")
        await c.client.delete(resource.DeviceTaintRule, rule.metadata.name)
        await asyncio.sleep(60)
        assert not pods(c)["a"].metadata.HasField("deletion_timestamp")
        assert "Cancelling deletion" in [event.message for event in c.api.all(core.Event)]
        await c.client.create(device_rule(device="card-0"))
        await asyncio.sleep(50)
        assert not pods(c)["a"].metadata.HasField("deletion_timestamp")
        await asyncio.sleep(15)
        assert pods(c)["a"].metadata.HasField("deletion_timestamp")


@virtual_time
async def test_a_driver_says_by_its_slice_that_a_device_is_broken() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        seed(c, "a")
        (found,) = c.api.all(resource.ResourceSlice)
        found.spec.devices[0].taints.add(key="broken", effect="NoExecute")
        written = await c.client.update(found)
        since = written.spec.devices[0].taints[0].time_added.seconds
        assert since
        await c.until(lambda: pods(c)["a"].metadata.HasField("deletion_timestamp"))
        # Who says it again does not say since when: it is since then.
        written.spec.devices[0].taints[0].ClearField("time_added")
        await asyncio.sleep(10)
        assert (await c.client.update(written)).spec.devices[0].taints[0].time_added.seconds == since


@virtual_time
async def test_a_pod_that_gets_its_node_later_goes_then() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        seed(c, "a", nodes=False)
        await c.client.create(device_rule(device="card-0"))
        await asyncio.sleep(5)
        assert not pods(c)["a"].metadata.HasField("deletion_timestamp")
        binding = core.Binding()
        binding.metadata.name, binding.metadata.namespace = "a", NAMESPACE
        binding.target.kind, binding.target.name = "Node", "n1"
        await c.client.create(binding)
        await c.until(lambda: pods(c)["a"].metadata.HasField("deletion_timestamp"))
