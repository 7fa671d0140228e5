"""Claims to devices get them with the pod's node, once, whatever comes between; and give them back where they keep the pod from a node."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.machinery.errors import status_error
from knarr.objects.copies import copy_of
from knarr.objects.devices import FINALIZER, MOST_CONSUMERS
from knarr.objects.node_selection import only_on
from services.scheduler.component import Scheduler
from services.scheduler.node_table import NodeTable
from services.scheduler.plugin import Change
from services.scheduler.plugins.dynamicresources.allocator import DECISION_STEPS, NODE_STEPS
from services.scheduler.plugins.dynamicresources.arguments import DynamicResourcesArgs
from services.scheduler.plugins.dynamicresources.plugin import DynamicResources
from services.scheduler.plugins.dynamicresources.search import TIMED_OUT
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import ProfileSettings
from services.scheduler.seconds import Seconds
from services.scheduler.settings import SchedulerSettings
from tests.scheduler.devices import DRIVER, add_device, claim_of, device_class, give, slice_of
from tests.scheduler.objects import Objects, node, pod
from tests.scheduler.test_component import Fixture
from tests.support.mishaps import Kind, Scenario, World, play, wrongs
from tests.support.rights import SCHEDULER
from tests.support.virtual_time import virtual_time

# Longer than whatever it waits for, a relist after a lost event included.
STEP_SECONDS = 90.0


def cards(name: str, count: int = 1, **more: Any) -> resource.ResourceSlice:
    """Those of a node."""
    made = slice_of(name, name, name)
    for number in range(count):
        add_device(made, f"card-{number}", **more)
    return made


def asking(name: str = "c", count: int = 1) -> resource.ResourceClaim:
    made = claim_of(name)
    wanted = made.spec.devices.requests.add(name="card").exactly
    wanted.device_class_name, wanted.allocation_mode, wanted.count = "any", "ExactCount", count
    return made


def using(name: str, *claims: str, cpu: str = "") -> core.Pod:
    made = pod(name, cpu)
    for claim in claims:
        made.spec.resource_claims.add(name=claim, resource_claim_name=claim)
    return made


class Devices:
    """A whole scheduler, and cards on its nodes."""

    def __init__(self, *nodes: core.Node, settings: SchedulerSettings | None = None) -> None:
        self.fixture = Fixture(*nodes, settings=settings)
        self.api, self.client = self.fixture.api, self.fixture.client
        self.api.seed(device_class("any"))

    def claim(self, name: str = "c") -> resource.ResourceClaim:
        return next(found for found in self.api.all(resource.ResourceClaim) if found.metadata.name == name)

    def device(self, name: str = "c") -> tuple[str, str]:
        (result,) = self.claim(name).status.allocation.devices.results
        return result.pool, result.device

    def place(self, name: str) -> str:
        return next(str(found.spec.node_name) for found in self.api.all(core.Pod) if found.metadata.name == name)

    def users(self, name: str = "c") -> list[str]:
        return sorted(consumer.name for consumer in self.claim(name).status.reserved_for)


@virtual_time
async def test_a_claim_gets_its_device_with_the_pods_node() -> None:
    d = Devices(node("n1"), node("n2"))
    async with d.fixture.running():
        d.api.seed(cards("n2"), asking(), using("a", "c"))
        await asyncio.sleep(1)
        assert d.place("a") == "n2" and d.device() == ("n2", "card-0") and d.users() == ["a"]
        claim = d.claim()
        assert FINALIZER in claim.metadata.finalizers and claim.status.allocation.node_selector == only_on("n2")
        assert claim.status.allocation.HasField("allocation_timestamp")


@virtual_time
async def test_no_device_is_had_twice() -> None:
    d = Devices(node("n1"), node("n2"))
    async with d.fixture.running():
        d.api.seed(cards("n1", 2), cards("n2", 1))
        d.api.seed(*(asking(f"c{number}") for number in range(4)), *(using(f"p{number}", f"c{number}") for number in range(4)))
        await asyncio.sleep(5)
        had = [d.device(f"c{number}") for number in range(4) if d.claim(f"c{number}").status.HasField("allocation")]
        assert sorted(had) == [("n1", "card-0"), ("n1", "card-1"), ("n2", "card-0")]
        assert sum(bool(d.place(f"p{number}")) for number in range(4)) == 3
        words = "0/2 nodes are available: 2 cannot allocate all claims. preemption: "
        assert any(told.startswith(words) for told in d.fixture.events("FailedScheduling"))


@virtual_time
async def test_a_device_that_is_free_again_is_for_who_waits() -> None:
    d = Devices(node("n1"))
    async with d.fixture.running():
        had = asking("had")
        give(had, "card-0", "n1")
        d.api.seed(cards("n1"), had, asking(), using("a", "c"))
        await asyncio.sleep(5)
        assert not d.place("a")
        free = await d.client.get(resource.ResourceClaim, "had", "default")
        free.status.ClearField("allocation")
        await d.client.update(free, subresource="status")
        await asyncio.sleep(3)
        assert d.place("a") == "n1" and d.users() == ["a"]


@virtual_time
async def test_pods_that_share_a_claim_go_where_its_device_is() -> None:
    d = Devices(node("n1"), node("n2"))
    async with d.fixture.running():
        d.api.seed(cards("n2"), asking(), using("a", "c"), using("b", "c"))
        await asyncio.sleep(5)
        assert d.place("a") == d.place("b") == "n2" and d.users() == ["a", "b"]


@virtual_time
@pytest.mark.parametrize("subresource", ["", "status"])
@pytest.mark.parametrize("after", [False, True])
async def test_a_write_that_fails_or_whose_answer_is_lost(subresource: str, after: bool) -> None:
    d = Devices(node("n1"))
    async with d.fixture.running():
        error = status_error("Timeout", "no answer")
        d.api.fail_next(error, verb="update", message_type=resource.ResourceClaim, subresource=subresource, after=after)
        d.api.seed(cards("n1"), asking(), asking("other"), using("a", "c"))
        await asyncio.sleep(0.2)
        d.api.seed(using("b", "other"))
        await asyncio.sleep(5)
        claims = [d.claim(name) for name in ("c", "other")]
        assert sum(claim.status.HasField("allocation") for claim in claims) == 1
        assert sum(bool(d.place(name)) for name in ("a", "b")) == 1


@virtual_time
async def test_somebody_else_may_change_a_claim_first() -> None:
    d = Devices(node("n1"))
    async with d.fixture.running():
        for _ in range(2):
            d.api.fail_next(status_error("Conflict", "changed"), verb="update", message_type=resource.ResourceClaim)
        d.api.seed(cards("n1"), asking(), using("a", "c"))
        await asyncio.sleep(1)
        assert d.place("a") == "n1" and d.users() == ["a"] and d.fixture.events("FailedScheduling") == []


@virtual_time
async def test_devices_that_keep_a_pod_from_the_one_node_with_room_are_given_back() -> None:
    d = Devices(node("n1", cpu="1"), node("n2"))
    async with d.fixture.running():
        had = asking()
        give(had, "card-0", "n1")
        had.status.allocation.node_selector.CopyFrom(only_on("n1"))
        d.api.seed(cards("n1"), cards("n2"), had, pod("full", cpu="1", node_name="n1"), using("a", "c", cpu="1"))
        await asyncio.sleep(10)
        assert d.place("a") == "n2" and d.device() == ("n2", "card-0")
        assert any("deallocation of ResourceClaim completed" in told for told in d.fixture.events("FailedScheduling"))


@virtual_time
async def test_devices_that_another_pod_uses_are_not_given_back() -> None:
    d = Devices(node("n1", cpu="1"), node("n2"))
    async with d.fixture.running():
        had = asking()
        give(had, "card-0", "n1")
        had.status.allocation.node_selector.CopyFrom(only_on("n1"))
        had.status.reserved_for.add(resource="pods", name="full", uid="uid-default-full")
        d.api.seed(cards("n1"), cards("n2"), had, pod("full", cpu="1", node_name="n1"), using("a", "c", cpu="1"))
        await asyncio.sleep(10)
        assert not d.place("a") and d.device() == ("n1", "card-0")


async def connected(d: Devices, kind: str) -> None:
    """As a driver does, of all devices of the claim."""
    claim = await d.client.get(resource.ResourceClaim, "c", "default")
    for result in claim.status.allocation.devices.results:
        told = claim.status.devices.add(driver=result.driver, pool=result.pool, device=result.device)
        condition = told.conditions.add(type=kind, status="True", reason="Told", message="by the driver")
        condition.last_transition_time.seconds = 1
    await d.client.update(claim, subresource="status")


@virtual_time
@pytest.mark.parametrize("kind", ["Attached", "Broken", ""])
async def test_a_pod_waits_until_its_device_is_ready(kind: str) -> None:
    args = {"DynamicResources": DynamicResourcesArgs(binding_timeout=Seconds(30.0))}
    d = Devices(node("n1"), settings=SchedulerSettings(seed=1, profiles=(ProfileSettings(args=args),)))
    async with d.fixture.running():
        slow = cards("n1")
        slow.spec.devices[0].binding_conditions.append("Attached")
        slow.spec.devices[0].binding_failure_conditions.append("Broken")
        d.api.seed(slow, asking(), using("a", "c"))
        await asyncio.sleep(2)
        assert not d.place("a") and d.device() == ("n1", "card-0")
        if kind == "Attached":
            await connected(d, kind)
            await asyncio.sleep(2)
            assert d.place("a") == "n1"
            return
        if kind:
            await connected(d, kind)
        await asyncio.sleep(31)
        words = 'claim c binding failed: reason=Told, message="by the driver"' if kind else "device binding timeout"
        assert any(words in told for told in d.fixture.events("FailedScheduling"))
        assert not d.place("a") and not [told for told in d.claim().status.devices if kind == "Broken" and told.conditions]


def test_a_claim_that_is_full_keeps_others_off() -> None:
    had = asking()
    give(had, "card-0", "n1")
    for number in range(MOST_CONSUMERS):
        had.status.reserved_for.add(resource="pods", name=f"p{number}", uid=f"uid-default-p{number}")
    plugin = DynamicResources(Objects(had, device_class("any")))
    assert plugin.impossible(PodFacts.of(using("a", "c"))) == "resourceclaim in use"
    assert plugin.impossible(PodFacts.of(using("p1", "c"))) == ""


def changed(old: Any, new: Any) -> Change:
    return Change(frozenset(), old=old, new=new)


def test_what_may_help_a_pod_that_found_no_devices() -> None:
    wanted, had, rule = asking(), asking("had"), resource.DeviceTaintRule()
    give(had, "card-0", "n1")
    noted, free, used = copy_of(wanted), asking("had"), copy_of(had)
    noted.status.reserved_for.add(resource="pods", name="x", uid="x")
    used.status.reserved_for.add(resource="pods", name="x", uid="x")
    labelled = copy_of(wanted)
    labelled.metadata.labels["a"] = "b"
    plugin, table = DynamicResources(Objects(wanted, had, cards("n1"), cards("n2"), device_class("any"))), NodeTable(DynamicResources.reads)
    for name in ("n1", "n2"):
        table.put_node(node(name))
    facts = PodFacts.of(using("a", "c"))
    helps = {
        "its claim comes": changed(None, wanted),
        "its claim has another status": changed(wanted, noted),
        "devices are free": changed(had, free),
        "devices go with their claim": changed(had, None),
        "its class": changed(None, device_class("any")),
        "a slice": changed(None, cards("n3")),
        "a taint that goes": changed(rule, None),
        "a node with devices": Change(frozenset(), table.rows["n2"]),
    }
    idle = {
        "its claim has other labels": changed(wanted, labelled),
        "another claim comes": changed(None, had),
        "another claim has one more user": changed(had, used),
        "another class": changed(None, device_class("other")),
        "its class goes": changed(device_class("any"), None),
        "a slice goes": changed(cards("n3"), None),
        "a taint that comes": changed(None, rule),
        "a node whose devices are had": Change(frozenset(), table.rows["n1"]),
    }
    assert {name for name, change in {**helps, **idle}.items() if plugin.mends(facts, table, change)} == set(helps)


def test_a_search_that_would_take_too_long_is_given_up() -> None:
    """One value of many, all of them different: no two match, and every pair would have to be tried."""
    racks = [slice_of(f"n{number}", f"n{number}", f"n{number}") for number in range(8)]
    for rack in racks:
        for number in range(60):
            add_device(rack, f"card-{number}", model=f"m{number % 20}")
    claim = asking(count=8)
    claim.spec.devices.constraints.add(distinct_attribute=f"{DRIVER}/model")
    claim.spec.devices.requests.add(name="more").exactly.CopyFrom(claim.spec.devices.requests[0].exactly)
    claim.spec.devices.requests.add(name="most").exactly.CopyFrom(claim.spec.devices.requests[0].exactly)
    plugin, table = DynamicResources(Objects(claim, *racks, device_class("any"))), NodeTable(DynamicResources.reads)
    for rack in racks:
        table.put_node(node(rack.metadata.name))
    facts = PodFacts.of(using("a", "c"))
    mask = plugin.filter(facts, table)
    assert mask is not None and not mask.any() and DECISION_STEPS < 8 * NODE_STEPS
    assert {words for row in range(8) for words in plugin.reasons(facts, table, row)} == {TIMED_OUT}


async def given_out(w: World) -> None:
    """Two devices for three pods, of which two share a claim; the third one's comes when a device is free."""
    w.api.seed(node("n1"), node("n2"), device_class("any"), cards("n1"), cards("n2"))
    for name in ("a", "b", "c"):
        w.api.seed(asking(name))
    w.api.seed(using("p1", "a"), using("p2", "b"), using("p3", "a"))
    await asyncio.sleep(STEP_SECONDS)
    w.api.seed(using("p4", "c"))
    await asyncio.sleep(STEP_SECONDS)
    await w.client.delete(core.Pod, "p2", "default", grace_period_seconds=0)
    await w.edit(resource.ResourceClaim, "b", lambda found: found.ClearField("status"), subresource="status")
    await asyncio.sleep(STEP_SECONDS)


def every_device_has_one_claim(w: World) -> None:
    had = [
        (result.pool, result.device) for claim in w.api.all(resource.ResourceClaim) for result in claim.status.allocation.devices.results
    ]
    assert sorted(had) == [("n1", "card-0"), ("n2", "card-0")]
    assert all(found.spec.node_name for found in w.api.all(core.Pod))
    users = {claim.metadata.name: sorted(one.name for one in claim.status.reserved_for) for claim in w.api.all(resource.ResourceClaim)}
    assert users == {"a": ["p1", "p3"], "b": [], "c": ["p4"]}


SCENARIO = Scenario(
    lambda world, client: Scheduler(client, clock=world.clock),
    given_out,
    check=every_device_has_one_claim,
    user=SCHEDULER,
    # Which of the nodes it is, is as it comes; and so is who writes first into what two share.
    free=frozenset({"Pod.spec.nodeName", "ResourceClaim.status.allocation", "ResourceClaim.status.reservedFor"}),
)


def test_it_has_something_to_do() -> None:
    clean = play(SCENARIO)
    assert sum("Binding" in what for what in clean.writes) == 4
    assert sum("ResourceClaim" in what for what in clean.writes) >= 6


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.NONE, Kind.PAIRED)])
def test_it_comes_to_the_same_end(kind: Kind) -> None:
    assert wrongs(SCENARIO, kind) == []
