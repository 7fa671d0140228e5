"""What controllers of workloads share: creating slowly, expecting what was written, reporting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.events import EventRecorder, EventSource
from knarr.machinery.errors import Conflict, NotFound, StatusError, status_error
from knarr.machinery.selectors import label_selector
from knarr.objects.copies import copy_of
from knarr.objects.keys import key_of
from knarr.objects.owners import controller_of, is_controlled_by
from services.controller.expectations import Expectations, created, deleted
from services.controller.workloads import pods
from services.controller.workloads.adoption import settle_claims
from services.controller.workloads.pods import MOST_AT_ONCE, PodWriter, pod_from_template, slow_start
from services.controller.workloads.status import report
from tests.controller.objects import pod, replica_set
from tests.support.api import FaultyApi
from tests.support.virtual_time import virtual_time

REFUSED = status_error("Forbidden", "exceeded quota")


class Tries:
    """Fails for some items; notes how many are at work at once."""

    def __init__(self, *bad: int) -> None:
        self.bad = bad
        self.tried: list[int] = []

    async def __call__(self, item: int) -> StatusError | None:
        self.tried.append(item)
        return REFUSED if item in self.bad else None


@pytest.mark.parametrize(("bad", "tried"), [((), 20), ((0,), 1), ((1,), 3), ((2,), 3), ((6,), 7), ((19,), 20)])
@virtual_time
async def test_a_failure_costs_the_batch_it_is_in(bad: tuple[int, ...], tried: int) -> None:
    act = Tries(*bad)
    assert await slow_start(range(20), act) is (REFUSED if bad else None)
    assert act.tried == [*range(tried)]


@virtual_time
async def test_nothing_is_made_before_its_turn() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    assert await slow_start(items(), Tries(0)) is REFUSED
    assert made == [0]


def test_a_pod_of_a_template() -> None:
    owner = replica_set()
    owner.metadata.uid = "u1"
    owner.spec.template.metadata.annotations["a"] = "b"
    made = pod_from_template(owner.spec.template, owner)
    assert made.spec == owner.spec.template.spec
    assert dict(made.metadata.labels) == {"app": "web"}
    assert dict(made.metadata.annotations) == {"a": "b"}
    assert made.metadata.generate_name == "web-"
    assert made.metadata.name.startswith("web-")
    assert made.metadata.namespace == "default"
    assert is_controlled_by(made, owner)


async def stored_owner(api: FaultyApi) -> apps.ReplicaSet:
    return await api.client().create(replica_set())


async def test_never_more_are_begun_at_once_than_leave_time_for_others() -> None:
    going, most = 0, list[int]()

    async def act(item: int) -> None:
        nonlocal going
        going += 1
        most.append(going)
        await asyncio.sleep(0)
        going -= 1

    assert await slow_start(range(200), act) is None
    assert len(most) == 200 and max(most) == MOST_AT_ONCE


@virtual_time
async def test_writes_are_expected_until_they_are_seen_and_failed_ones_are_not() -> None:
    api, expectations = FaultyApi(), Expectations()
    owner = await stored_owner(api)
    writer = PodWriter(api.client(), EventSource(EventRecorder(api.client(), "test"), "test"), expectations)
    wanted = [pod_from_template(owner.spec.template, owner) for _ in range(3)]
    api.fail_next(REFUSED, verb="create", message_type=core.Pod)
    assert await writer.create(owner, wanted) == REFUSED
    assert (expectations.open(key_of(owner)), len(api.all(core.Pod))) == (0, 0)
    assert await writer.create(owner, wanted) is None
    assert (expectations.open(key_of(owner)), len(api.all(core.Pod))) == (3, 3)
    for found in api.all(core.Pod):
        expectations.saw(key_of(owner), found, gone=False)
    assert expectations.open(key_of(owner)) == 0
    stored = api.all(core.Pod)
    assert await writer.delete(owner, stored) is None
    assert expectations.open(key_of(owner)) == 3
    for found in stored:
        expectations.saw(key_of(owner), found, gone=True)
    assert expectations.open(key_of(owner)) == 0
    # Gone already: nothing to wait for.
    assert await writer.delete(owner, stored) is None
    assert expectations.open(key_of(owner)) == 0


@pytest.mark.parametrize("seen", [False, True])
@virtual_time
async def test_a_name_that_was_drawn_twice_is_drawn_again(seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five thousand pods two mostly have one name: the second was taken for the first, and waited for until its expectation lapsed."""
    api, expectations = FaultyApi(), Expectations()
    owner = await stored_owner(api)
    writer = PodWriter(api.client(), EventSource(EventRecorder(api.client(), "test"), "test"), expectations)
    drawn = iter("aaab")
    monkeypatch.setattr(pods, "generated", lambda base: f"{base}{next(drawn)}")
    for made in range(2):
        assert await writer.create(owner, [pod_from_template(owner.spec.template, owner)]) is None
        for found in api.all(core.Pod) if seen and not made else ():
            expectations.saw(key_of(owner), found, gone=False)
    assert sorted(found.metadata.name[-1] for found in api.all(core.Pod)) == ["a", "b"]
    for found in api.all(core.Pod):
        expectations.saw(key_of(owner), found, gone=False)
    assert expectations.open(key_of(owner)) == 0


@virtual_time
async def test_a_pod_that_terminates_is_one_that_was_deleted() -> None:
    expectations, owner = Expectations(), key_of(replica_set())
    seen = pod("a")
    expectations.expect(owner, deleted(seen.metadata.uid))
    expectations.saw(owner, seen, gone=False)
    assert expectations.open(owner) == 1
    seen.metadata.deletion_timestamp.seconds = 1
    expectations.saw(owner, seen, gone=False)
    assert expectations.open(owner) == 0
    expectations.expect(owner, created("b"))
    expectations.saw(owner, pod("a"), gone=False)
    assert expectations.open(owner) == 1


@virtual_time
async def test_a_status_is_written_once_and_onto_the_object_as_it_is() -> None:
    api = FaultyApi()
    client = api.client()
    old = await stored_owner(api)
    status = copy_of(old.status)
    await report(client, old, status)
    assert not [write for write in api.writes if write.verb == "update"]
    changed = copy_of(old)
    changed.metadata.labels["changed"] = "meanwhile"
    await client.update(changed)
    status.replicas = 3
    with pytest.raises(Conflict):
        await report(client, old, status)
    await report(client, old, status, insist=True)
    stored = await client.get(apps.ReplicaSet, "web", "default")
    assert (stored.status.replicas, dict(stored.metadata.labels)) == (3, {"changed": "meanwhile"})


@virtual_time
async def test_a_status_of_what_is_gone_or_another_now_is_dropped() -> None:
    api = FaultyApi()
    client = api.client()
    old = await stored_owner(api)
    status = copy_of(old.status)
    status.replicas = 3
    await client.delete(apps.ReplicaSet, "web", "default", propagation_policy="Background")
    await report(client, old, status)
    await client.create(replica_set())
    await report(client, old, status, insist=True)
    assert (await client.get(apps.ReplicaSet, "web", "default")).status.replicas == 0


async def orphan_of(api: FaultyApi) -> core.Pod:
    """A pod that nobody controls, with the labels that the owner asks for."""
    found = pod("orphan")
    api.seed(found)
    return await api.client().get(core.Pod, "orphan", "default")


@pytest.mark.parametrize("live", ["another", "leaving", "gone"])
@virtual_time
async def test_an_owner_that_is_no_more_adopts_nothing(live: str) -> None:
    """Whatever the cache says: there may be another of the same name, which does not want what the former did."""
    api = FaultyApi()
    client, old, orphan = api.client(), await stored_owner(api), await orphan_of(api)
    await client.delete(apps.ReplicaSet, "web", "default", propagation_policy="Foreground" if live == "leaving" else "Background")
    if live == "another":
        await client.create(replica_set())
    before = len(api.writes)
    with contextlib.suppress(NotFound):
        assert await settle_claims(client, old, label_selector(old.spec.selector), [orphan]) == []
    assert len(api.writes) == before
    assert controller_of(api.all(core.Pod)[0]) is None


@virtual_time
async def test_what_changed_meanwhile_is_neither_adopted_nor_released() -> None:
    api = FaultyApi()
    client, owner, orphan = api.client(), await stored_owner(api), await orphan_of(api)
    changed = copy_of(orphan)
    changed.metadata.labels["app"] = "other"
    await client.update(changed)
    with pytest.raises(Conflict):
        await settle_claims(client, owner, label_selector(owner.spec.selector), [orphan])
    assert controller_of(api.all(core.Pod)[0]) is None
