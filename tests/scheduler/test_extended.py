"""Extended resources that classes of devices stand for: from the node itself where it offers them, else as devices by a claim."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.machinery.errors import status_error
from knarr.objects.copies import copy_of
from knarr.objects.devices import EXTENDED_CLAIM
from knarr.objects.node_selection import only_on
from knarr.objects.owners import is_controlled_by, owner_reference
from services.scheduler.catalog import PLUGINS
from services.scheduler.decide import decide
from services.scheduler.plugins.dynamicresources.extended import claim_name, extended_claim, mappings
from services.scheduler.pod_facts import PodFacts
from services.scheduler.profile import DEFAULT_SCHEDULER, ProfileSettings
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from tests.scheduler.devices import device_class, give
from tests.scheduler.objects import Objects, node, pod
from tests.scheduler.test_devices import Devices, cards
from tests.support.virtual_time import virtual_time

GPU = "example.com/gpu"


def classed(name: str = "any", of: str = GPU, second: int = 0) -> resource.DeviceClass:
    made = device_class(name)
    made.spec.extended_resource_name, made.metadata.creation_timestamp.seconds = of, second
    return made


def asking(name: str, count: int = 1, of: str = GPU) -> core.Pod:
    made = pod(name)
    for amounts in (made.spec.containers[0].resources.requests, made.spec.containers[0].resources.limits):
        amounts[of].string = str(count)
    return made


def with_gpus(name: str, count: int) -> core.Node:
    made = node(name)
    made.status.allocatable[GPU].string = made.status.capacity[GPU].string = str(count)
    return made


class Cards(Devices):
    """The class stands for the extended resource."""

    def __init__(self, *nodes: core.Node) -> None:
        super().__init__(*nodes)
        self.api.seed(classed("cards"))

    def made(self) -> list[resource.ResourceClaim]:
        return [found for found in self.api.all(resource.ResourceClaim) if EXTENDED_CLAIM in found.metadata.annotations]

    def pod(self, name: str) -> core.Pod:
        return next(found for found in self.api.all(core.Pod) if found.metadata.name == name)


@virtual_time
async def test_a_pod_gets_devices_where_no_node_offers_the_resource() -> None:
    d = Cards(node("n1"), node("n2"))
    async with d.fixture.running():
        d.api.seed(cards("n2", 3), asking("a", 2))
        await asyncio.sleep(2)
        assert d.place("a") == "n2"
        (claim,) = d.made()
        found = d.pod("a")
        assert is_controlled_by(claim, found) and [consumer.name for consumer in claim.status.reserved_for] == ["a"]
        assert [result.device for result in claim.status.allocation.devices.results] == ["card-0", "card-1"]
        assert claim.status.allocation.node_selector == only_on("n2")
        told = found.status.extended_resource_claim_status
        assert told.resource_claim_name == claim.metadata.name
        (mapped,) = told.request_mappings
        assert (mapped.container_name, mapped.resource_name) == (found.spec.containers[0].name, GPU)
        assert mapped.request_name == claim.spec.devices.requests[0].name


@virtual_time
async def test_no_device_is_had_twice_by_pods_that_come_at_once() -> None:
    d = Cards(node("n1"), node("n2"))
    async with d.fixture.running():
        d.api.seed(cards("n1", 2), cards("n2", 1), *(asking(f"p{number}") for number in range(5)))
        await asyncio.sleep(10)
        results = [(one.pool, one.device) for claim in d.made() for one in claim.status.allocation.devices.results]
        assert sorted(results) == [("n1", "card-0"), ("n1", "card-1"), ("n2", "card-0")]
        assert sum(bool(d.place(f"p{number}")) for number in range(5)) == 3
        assert any("2 cannot allocate all claims" in told for told in d.fixture.events("FailedScheduling"))


@virtual_time
async def test_a_node_that_offers_the_resource_itself_needs_no_claim_and_must_have_enough() -> None:
    d = Cards(with_gpus("n1", 1))
    async with d.fixture.running():
        d.api.seed(asking("a"))
        await asyncio.sleep(2)
        assert d.place("a") == "n1" and not d.made()
        d.api.seed(cards("n1"), asking("b"))
        await asyncio.sleep(2)
        assert not d.place("b") and not d.made()
        assert any(f"1 Insufficient {GPU}" in told for told in d.fixture.events("FailedScheduling"))


@virtual_time
async def test_a_pod_waits_for_a_class_that_stands_for_its_resource() -> None:
    d = Devices(node("n1"))
    async with d.fixture.running():
        d.api.seed(cards("n1"), asking("a"))
        await asyncio.sleep(2)
        assert not d.place("a") and any(f"Insufficient {GPU}" in told for told in d.fixture.events("FailedScheduling"))
        d.api.seed(classed("cards"))
        await asyncio.sleep(20)
        assert d.place("a") == "n1"


@virtual_time
async def test_a_class_is_asked_for_by_its_own_name_too() -> None:
    d = Devices(node("n1"))
    async with d.fixture.running():
        d.api.seed(cards("n1"), asking("a", of="deviceclass.resource.kubernetes.io/any"))
        await asyncio.sleep(2)
        assert d.place("a") == "n1"


@virtual_time
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", ["create", "update", "patch"])
async def test_a_write_that_fails_or_whose_answer_is_lost_makes_no_second_claim(verb: str, after: bool) -> None:
    d = Cards(node("n1"), node("n2"))
    async with d.fixture.running():
        kind = core.Pod if verb == "patch" else resource.ResourceClaim
        error = status_error("ServiceUnavailable", "away")
        sub = "status" if verb == "patch" else ""
        d.api.fail_next(error, verb=verb, message_type=kind, subresource=sub, after=after)
        d.api.seed(cards("n1"), cards("n2"), asking("a"))
        await asyncio.sleep(60)
        assert d.place("a") in ("n1", "n2")
        (claim,) = d.made()
        assert claim.status.allocation.node_selector == only_on(d.place("a"))
        assert d.pod("a").status.extended_resource_claim_status.resource_claim_name == claim.metadata.name


@virtual_time
async def test_a_claim_of_somebody_else_under_the_name_stays_his() -> None:
    d = Cards(node("n1"))
    async with d.fixture.running():
        d.api.seed(asking("a"))
        await asyncio.sleep(2)
        other = extended_claim(d.pod("a"), {GPU: "cards"}, [GPU])
        other.metadata.owner_references.append(owner_reference(asking("b")))
        d.api.seed(other)
        (before,) = d.made()
        d.api.seed(cards("n1"))
        await asyncio.sleep(60)
        assert not d.place("a") and d.made() == [before]
        assert any(f"claim default/{before.metadata.name} is not the pod's" in told for told in d.fixture.events("FailedScheduling"))


@pytest.mark.parametrize("count", [10**9, 10**19, 10**30])
def test_more_devices_than_there_are_are_refused_whatever_the_number(count: int) -> None:
    assert not chosen(asking("a", count), node("n1"), cards("n1"), classed())


def chosen(asked: core.Pod, found: core.Node, *objects: Any) -> str:
    settings = SchedulerSettings(profiles=(ProfileSettings.of(PLUGINS),))
    state = SchedulerState(settings, Objects(*objects), lambda: 0.0)
    state.node_changed(None, found)
    return decide(state.table, state.profiles[DEFAULT_SCHEDULER], PodFacts.of(asked), random.Random(0)).node


def test_of_several_classes_the_newest_stands_for_a_resource() -> None:
    none = classed("none", second=1)
    none.spec.selectors.add().cel.expression = "false"
    every = classed("every", second=2)
    assert chosen(asking("a"), node("n1"), cards("n1"), none, every) == "n1"
    none.metadata.creation_timestamp.seconds = 3
    assert not chosen(asking("a"), node("n1"), cards("n1"), none, every)


def test_a_claim_of_before_binds_a_pod_to_its_devices() -> None:
    asked = asking("a")
    made = extended_claim(asked, {GPU: "any"}, [GPU])
    made.metadata.uid = "uid-made"
    made.metadata.owner_references.append(owner_reference(asked))
    give(made, "card-0", "n2")
    made.status.allocation.node_selector.CopyFrom(only_on("n2"))
    had = (cards("n1"), cards("n2"), classed(), made)
    assert chosen(asked, node("n2"), *had) == "n2"
    assert not chosen(asked, node("n1"), *had)


def test_devices_of_an_init_container_are_for_those_that_come_after_it() -> None:
    asked = asking("a", 2)
    for name, count in (("first", 1), ("second", 2)):
        container = asked.spec.init_containers.add(name=name)
        container.resources.requests[GPU].string = str(count)
    side = asked.spec.init_containers.add(name="side", restart_policy="Always")
    side.resources.requests[GPU].string = "1"
    claim = extended_claim(asked, {GPU: "any"}, [GPU])
    counts = {request.name: request.exactly.count for request in claim.spec.devices.requests}
    # The second has that of the first and one more; the sidecar takes one for good, and the container needs one besides the other.
    assert counts == {"container-0-request-0": 1, "container-1-request-0": 1, "container-3-request-0": 1}
    main = asked.spec.containers[0].name
    assert [(one["containerName"], one["requestName"]) for one in mappings(asked, claim)] == [
        ("first", "container-0-request-0"),
        ("second", "container-0-request-0"),
        ("second", "container-1-request-0"),
        ("side", "container-0-request-0"),
        (main, "container-1-request-0"),
        (main, "container-3-request-0"),
    ]


def test_a_name_is_the_same_whenever_it_is_asked_and_anothers_for_a_pod_of_the_same_name() -> None:
    first, again = asking("a" * 80), asking("a" * 80)
    first.metadata.uid, again.metadata.uid = "uid-1", "uid-2"
    assert claim_name(first) == claim_name(copy_of(first)) != claim_name(again)
    assert len(claim_name(first)) <= 63
