"""Evictions: what a disruption budget holds back, and what it costs it when it does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.machinery.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, StatusError, Timeout, TooManyRequests
from knarr.objects.conditions import get_condition
from services.apiserver.pipeline import eviction as evictions
from services.apiserver.pipeline.delete import remove
from services.apiserver.storage.memory import MemoryStore
from services.apiserver.strategies.pod.eviction import MAX_DISRUPTED_PODS, VIOLATED, spend
from tests.apiserver.pipeline.world import World, fill, node, pod, ref, running
from tests.support.virtual_time import virtual_time

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUDGET = ref(policy.PodDisruptionBudget, "b")


def budget(name: str = "b", **selector: str) -> policy.PodDisruptionBudget:
    made = policy.PodDisruptionBudget(metadata=meta.ObjectMeta(name=name))
    made.spec.min_available.int_val = 1
    made.spec.selector.match_labels.update(selector or {"app": "web"})
    return made


async def begin(world: World, pods: int = 1, *, phase: str = "Running", ready: bool = True) -> None:
    """Pods ``p0``, ``p1`` … of the application web on a node."""
    await fill(world, [node()])
    for number in range(pods):
        made = pod(f"p{number}", on="n")
        made.metadata.labels["app"] = "web"
        await fill(world, [made])
        await say(world, f"p{number}", phase=phase, ready=ready)


async def say(world: World, name: str, *, phase: str = "Running", ready: bool = True) -> None:
    """What its kubelet says of a pod."""
    found: Any = (await world.caller.get(ref(core.Pod, name))).message
    found.status.phase = phase
    del found.status.conditions[:]
    found.status.conditions.add(type="Ready", status="True" if ready else "False")
    await world.caller.update(ref(core.Pod, name, "status"), found, meta.UpdateOptions())


async def allow(world: World, allowed: int, *, name: str = "b", healthy: int = 3, desired: int = 1, generation: int = 1) -> None:
    """What the disruption controller says of a budget."""
    found: Any = (await world.caller.get(ref(policy.PodDisruptionBudget, name))).message
    found.status.disruptions_allowed, found.status.observed_generation = allowed, generation
    found.status.current_healthy, found.status.desired_healthy, found.status.expected_pods = healthy, desired, healthy
    await world.caller.update(ref(policy.PodDisruptionBudget, name, "status"), found, meta.UpdateOptions())


async def stored(world: World, name: str = "b") -> Any:
    return (await world.caller.get(ref(policy.PodDisruptionBudget, name))).message


async def evict(world: World, name: str = "p0", options: meta.DeleteOptions | None = None, dry_run: bool = False) -> Any:
    body = policy.Eviction(metadata=meta.ObjectMeta(name=name), delete_options=options)
    asked = meta.CreateOptions(dry_run=["All"] if dry_run else [])
    return (await world.caller.create(ref(core.Pod, name, "eviction"), body, asked)).message


async def refusal(world: World, name: str = "p0", options: meta.DeleteOptions | None = None) -> StatusError:
    with pytest.raises(StatusError) as refused:
        await evict(world, name, options)
    return refused.value


async def is_going(world: World, name: str = "p0") -> bool:
    found: Any = (await world.caller.get(ref(core.Pod, name))).message
    return bool(found.metadata.HasField("deletion_timestamp"))


@virtual_time
async def test_it_costs_the_budget_one_disruption_and_says_in_the_pod_why_it_goes() -> None:
    async with running() as world:
        await begin(world)
        await fill(world, [budget()])
        await allow(world, 2)
        answer = await evict(world)
        assert (answer.status, answer.code) == ("Success", 201)
        found: Any = (await world.caller.get(ref(core.Pod, "p0"))).message
        said = get_condition(found.status, "DisruptionTarget")
        assert said is not None
        assert (said.status, said.reason, said.message) == ("True", "EvictionByEvictionAPI", "Eviction API: evicting")
        assert found.metadata.HasField("deletion_timestamp") and found.metadata.deletion_grace_period_seconds == 30
        status = (await stored(world)).status
        assert (status.disruptions_allowed, list(status.disrupted_pods)) == (1, ["p0"])
        assert status.disrupted_pods["p0"].seconds > 0 and not status.conditions


@virtual_time
async def test_the_last_disruption_is_told_in_the_condition() -> None:
    async with running() as world:
        await begin(world)
        await fill(world, [budget()])
        await allow(world, 1)
        await evict(world)
        said = get_condition((await stored(world)).status, "DisruptionAllowed")
        assert said is not None
        assert (said.status, said.reason, said.observed_generation) == ("False", "InsufficientPods", 1)


@virtual_time
async def test_a_budget_that_allows_none_refuses_in_kubernetes_words() -> None:
    async with running() as world:
        await begin(world)
        await fill(world, [budget()])
        await allow(world, 0, healthy=2, desired=2)
        refused = await refusal(world)
        assert isinstance(refused, TooManyRequests) and (refused.code, refused.status.message) == (429, VIOLATED)
        (cause,) = refused.status.details.causes
        assert (cause.reason, cause.message) == ("DisruptionBudget", "The disruption budget b needs 2 healthy pods and has 2 currently")
        # Nobody knows when it will allow one.
        assert not refused.status.details.retry_after_seconds
        assert not await is_going(world)


@virtual_time
async def test_a_budget_that_its_controller_has_not_seen_is_asked_again_later() -> None:
    async with running() as world:
        await begin(world)
        await fill(world, [budget()])
        refused = await refusal(world)
        assert isinstance(refused, TooManyRequests) and refused.status.details.retry_after_seconds == 10
        assert refused.status.details.causes[0].message == "The disruption budget b is still being processed by the server."


@virtual_time
async def test_two_budgets_are_a_mistake_of_whoever_made_them() -> None:
    async with running() as world:
        await begin(world)
        await fill(world, [budget("a"), budget("b")])
        refused = await refusal(world)
        words = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        assert (refused.code, refused.reason, refused.status.message) == (500, "", words)
        assert not await is_going(world)


@virtual_time
async def test_an_empty_selector_is_about_every_pod_and_an_absent_one_about_none() -> None:
    async with running() as world:
        await begin(world, 2)
        absent, empty = budget("absent"), budget("empty")
        absent.spec.ClearField("selector")
        empty.spec.selector.Clear()
        empty.spec.selector.SetInParent()
        await fill(world, [absent])
        await evict(world)
        await fill(world, [empty])
        assert isinstance(await refusal(world, "p1"), TooManyRequests)


@virtual_time
@pytest.mark.parametrize(("phase", "goes"), [("Pending", True), ("Succeeded", True), ("Failed", True), ("Running", False)])
async def test_what_is_not_running_yet_or_any_more_costs_nothing(phase: str, goes: bool) -> None:
    async with running() as world:
        await begin(world, phase=phase, ready=phase == "Running")
        await fill(world, [budget()])
        await allow(world, 0)
        if goes:
            await evict(world)
        else:
            assert isinstance(await refusal(world), TooManyRequests)
        assert not (await stored(world)).status.disrupted_pods


@virtual_time
async def test_what_goes_already_may_be_told_so_again() -> None:
    async with running() as world:
        await begin(world)
        await world.caller.delete(ref(core.Pod, "p0"), meta.DeleteOptions())
        await fill(world, [budget()])
        await allow(world, 0)
        await evict(world, options=meta.DeleteOptions(grace_period_seconds=1))
        found: Any = (await world.caller.get(ref(core.Pod, "p0"))).message
        assert found.metadata.deletion_grace_period_seconds == 1


@virtual_time
@pytest.mark.parametrize(
    ("policy_word", "healthy", "goes"),
    [("", 2, True), ("", 1, False), ("IfHealthyBudget", 2, True), ("IfHealthyBudget", 1, False), ("AlwaysAllow", 0, True)],
)
async def test_a_pod_that_is_not_ready_goes_as_the_budget_says(policy_word: str, healthy: int, goes: bool) -> None:
    async with running() as world:
        await begin(world, ready=False)
        made = budget()
        if policy_word:
            made.spec.unhealthy_pod_eviction_policy = policy_word
        await fill(world, [made])
        await allow(world, 0, healthy=healthy, desired=2)
        if goes:
            await evict(world)
        else:
            assert isinstance(await refusal(world), TooManyRequests)
        assert await is_going(world) is goes
        assert not (await stored(world)).status.disrupted_pods


@virtual_time
async def test_a_pod_that_becomes_ready_meanwhile_is_not_taken_for_an_unready_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        await begin(world, ready=False)
        await fill(world, [budget()])
        await allow(world, 0, healthy=2, desired=2)
        removing = remove

        async def late(*given: Any, **more: Any) -> Any:
            await say(world, "p0", ready=True)
            return await removing(*given, **more)

        monkeypatch.setattr(evictions, "remove", late)
        refused = await refusal(world)
        assert isinstance(refused, TooManyRequests) and refused.status.details.retry_after_seconds == 10
        assert not await is_going(world)


@virtual_time
async def test_a_pod_that_begins_to_run_meanwhile_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        await begin(world, phase="Pending", ready=False)
        await fill(world, [budget()])
        await allow(world, 0, healthy=2, desired=2)
        removing = remove

        async def late(*given: Any, **more: Any) -> Any:
            await say(world, "p0")
            return await removing(*given, **more)

        monkeypatch.setattr(evictions, "remove", late)
        refused = await refusal(world)
        assert isinstance(refused, TooManyRequests) and "needs 2 healthy pods" in refused.status.details.causes[0].message


@virtual_time
async def test_who_means_another_pod_spends_nothing() -> None:
    async with running() as world:
        await begin(world)
        await fill(world, [budget()])
        await allow(world, 1)
        for wanted in (meta.Preconditions(uid="another"), meta.Preconditions(resource_version="1")):
            assert isinstance(await refusal(world, options=meta.DeleteOptions(preconditions=wanted)), Conflict)
        assert (await stored(world)).status.disruptions_allowed == 1
        found: Any = (await world.caller.get(ref(core.Pod, "p0"))).message
        meant = meta.Preconditions(uid=found.metadata.uid, resource_version=found.metadata.resource_version)
        await evict(world, options=meta.DeleteOptions(preconditions=meant))
        assert await is_going(world)


@virtual_time
async def test_a_dry_one_leaves_no_trace_and_hears_the_same() -> None:
    async with running() as world:
        await begin(world)
        await fill(world, [budget()])
        await allow(world, 1)
        before = (await stored(world)).metadata.resource_version
        await evict(world, dry_run=True)
        await evict(world, options=meta.DeleteOptions(dry_run=["All"]))
        assert (await stored(world)).metadata.resource_version == before and not await is_going(world)
        await allow(world, 0)
        with pytest.raises(TooManyRequests):
            await evict(world, dry_run=True)


@virtual_time
async def test_what_makes_no_sense_is_refused_before_anything_is_spent() -> None:
    async with running() as world:
        await begin(world)
        await fill(world, [budget()])
        await allow(world, 1)
        with pytest.raises(BadRequest, match="name in URL does not match name in Eviction object"):
            await world.caller.create(ref(core.Pod, "p0", "eviction"), policy.Eviction(), meta.CreateOptions())
        assert isinstance(await refusal(world, "nobody"), NotFound)
        for options in (meta.DeleteOptions(dry_run=["Some"]), meta.DeleteOptions(propagation_policy="Sideways")):
            assert isinstance(await refusal(world, options=options), Invalid)
        assert (await stored(world)).status.disruptions_allowed == 1


def test_evictions_that_nobody_confirms_are_bounded() -> None:
    found = budget()
    found.status.disruptions_allowed = MAX_DISRUPTED_PODS + 5
    for number in range(MAX_DISRUPTED_PODS + 1):
        spend(found, f"p{number}", NOW)
    with pytest.raises(Forbidden, match="DisruptedPods map too big"):
        spend(found, "one-more", NOW)


@virtual_time
@pytest.mark.parametrize("servers", [1, 2])
async def test_fifty_at_once_never_spend_more_than_there_is(servers: int) -> None:
    """Through one API server, and through two over one store."""
    store = MemoryStore()
    async with running(store=store, shared=servers > 1) as world, running(store=store, shared=True, fresh=False) as second:
        await begin(world, 50)
        await fill(world, [budget()])
        await allow(world, 17, healthy=50, desired=33)
        callers = [world, second][:servers]
        outcomes = await asyncio.gather(*(evict(callers[number % servers], f"p{number}") for number in range(50)), return_exceptions=True)
        counted = Counter(type(outcome).__name__ for outcome in outcomes)
        assert counted == {"Status": 17, "TooManyRequests": 33}
        status = (await stored(world)).status
        assert (status.disruptions_allowed, len(status.disrupted_pods)) == (0, 17)
        assert sum([await is_going(world, f"p{number}") for number in range(50)]) == 17


@virtual_time
async def test_a_budget_that_others_write_all_the_time_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as world:
        await begin(world)
        await fill(world, [budget()])
        await allow(world, 1)

        async def never(*given: Any) -> Any:
            raise conflict

        conflict = Conflict(meta.Status(status="Failure", reason="Conflict", code=409))
        monkeypatch.setattr(evictions, "rewrite_part", never)
        refused = await refusal(world)
        assert isinstance(refused, Timeout) and refused.status.details.retry_after_seconds == 10
        assert refused.status.message == 'Timeout: couldn\'t update PodDisruptionBudget "b" due to conflicts'


@virtual_time
async def test_a_budget_that_is_deleted_meanwhile_holds_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain takes "not found" for the pod's being gone: it must not hear that of the budget."""
    async with running() as world:
        await begin(world)
        await fill(world, [budget()])
        await allow(world, 0)
        spending = evictions._spend

        async def late(*given: Any) -> None:
            await world.caller.delete(BUDGET, meta.DeleteOptions())
            await spending(*given)

        monkeypatch.setattr(evictions, "_spend", late)
        await evict(world)
        assert await is_going(world)
