"""Load balancers: made, kept, given back, whatever happens in between."""

from __future__ import annotations

import asyncio
import functools

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from knarr.objects.labels import EXCLUDED
from services.cloud.controllers.service.decide import FINALIZER, GOING_TAINT
from services.cloud.errors import Refused, Throttled, Unavailable
from tests.cloud.cluster import NAMESPACE, Cluster, FakeProvider, cluster, node, service
from tests.support.api import FaultyApi
from tests.support.virtual_time import VirtualClock, virtual_time

LOST = status_error("ServiceUnavailable", "the connection was lost")


@virtual_time
async def test_a_service_gets_a_load_balancer_and_gives_it_back() -> None:
    provider = FakeProvider()
    async with cluster(provider) as c:
        c.api.seed(node("node-1"), node("node-2"))
        await c.client.create(service())
        await c.until(lambda: c.ingress() == ["198.51.100.1"])
        made = c.service()
        assert made is not None and list(made.metadata.finalizers) == [FINALIZER]
        assert list(provider.balancers.values()) == [["node-1", "node-2"]]
        await c.until(lambda: c.events("EnsuredLoadBalancer"))
        await c.client.delete(core.Service, "web", NAMESPACE)
        await c.until(lambda: c.find_service() is None)
        assert not provider.balancers
        await c.until(lambda: c.events("DeletedLoadBalancer"))
        assert c.events("EnsuringLoadBalancer") == ["Ensuring load balancer"] and provider.count("ensure") == 1


@virtual_time
async def test_an_unchanged_service_is_not_asked_for_again() -> None:
    provider = FakeProvider(annotations={"fake.example/zone": "a"})
    async with cluster(provider) as c:
        c.api.seed(node())
        await c.client.create(service())
        await c.until(c.ingress)
        await c.edit(core.Service, "web", lambda found: found.metadata.labels.update({"a": "b"}))
        await c.edit(core.Node, "node-1", lambda found: found.metadata.labels.update({"a": "b"}))
        await asyncio.sleep(1700)
        assert provider.count("ensure") == 1 and provider.count("update") == 0


@virtual_time
async def test_what_somebody_changed_at_the_provider_is_mended_now_and_then() -> None:
    provider = FakeProvider()
    async with cluster(provider, check_seconds=600.0) as c:
        await c.client.create(service())
        await c.until(lambda: c.events("EnsuredLoadBalancer"))
        uid = c.service().metadata.uid
        provider.balancers.clear()
        await c.until(lambda: uid in provider.balancers, seconds=700)
        await asyncio.sleep(3 * 660)
        assert provider.count("ensure") in (4, 5)
        assert len(c.events("EnsuringLoadBalancer")) == len(c.events("EnsuredLoadBalancer")) == 1, "nobody hears of what changed nothing"
        provider.addresses[uid] = "198.51.100.99"
        await c.until(lambda: c.ingress() == ["198.51.100.99"], seconds=700)


@virtual_time
async def test_a_change_of_ports_or_options_is_ensured_and_nodes_are_updated() -> None:
    provider = FakeProvider()
    async with cluster(provider) as c:
        c.api.seed(node("node-1"), node("node-2"))
        await c.client.create(service())
        await c.until(c.ingress)
        await c.edit(core.Service, "web", lambda found: setattr(found.spec.ports[0], "port", 81))
        await c.until(lambda: provider.count("ensure") == 2)
        await c.edit(core.Service, "web", lambda found: found.metadata.annotations.update({"fake.example/speed": "high"}))
        await c.until(lambda: provider.count("ensure") == 3)
        await c.set_ready("node-2", "Unknown")
        await c.until(lambda: list(provider.balancers.values()) == [["node-1"]])
        await c.edit(core.Node, "node-2", lambda found: found.metadata.labels.update({EXCLUDED: ""}))
        await c.set_ready("node-2", "True")
        await asyncio.sleep(1)
        assert list(provider.balancers.values()) == [["node-1"]]
        await c.edit(core.Node, "node-2", lambda found: found.metadata.labels.pop(EXCLUDED))
        await c.until(lambda: list(provider.balancers.values()) == [["node-1", "node-2"]])
        await c.edit(core.Node, "node-1", lambda found: found.spec.taints.add(key=GOING_TAINT, effect="NoSchedule"))
        await c.until(lambda: list(provider.balancers.values()) == [["node-2"]])
        # None is left that is ready: those that only went silent keep the traffic.
        await c.set_ready("node-2", "Unknown")
        await asyncio.sleep(1)
        assert list(provider.balancers.values()) == [["node-2"]]
        await c.until(lambda: c.events("UpdatedLoadBalancer"))
        assert provider.count("ensure") == 3


@virtual_time
async def test_another_type_gives_the_load_balancer_back_and_keeps_the_service() -> None:
    provider = FakeProvider(annotations={"fake.example/zone": "a"})
    async with cluster(provider) as c:
        await c.client.create(service())
        await c.until(c.ingress)
        await c.until(lambda: c.events("UnAvailableLoadBalancer"))
        await c.edit(core.Service, "web", lambda found: setattr(found.spec, "type", "ClusterIP"))
        await c.until(lambda: not c.ingress())
        await c.until(lambda: not provider.balancers)
        await asyncio.sleep(1)
        found = c.service()
        assert found is not None and not found.metadata.finalizers and not found.metadata.annotations


@virtual_time
async def test_a_service_of_another_class_is_left_alone_and_one_of_ours_is_served() -> None:
    provider = FakeProvider()
    async with cluster(provider) as c:
        other, ours = service("other"), service("ours")
        other.spec.load_balancer_class, ours.spec.load_balancer_class = "example.com/balancer", "knarr.io/fake"
        await c.client.create(other)
        await c.client.create(ours)
        await c.until(lambda: c.ingress("ours"))
        await asyncio.sleep(5)
        left = c.service("other")
        assert left is not None and not left.metadata.finalizers and provider.count("ensure", "other") == 0


@virtual_time
async def test_one_that_went_over_to_another_class_gives_its_load_balancer_back() -> None:
    """A class is for life, but a Service may be of another type for a moment: too short to be seen while the provider is away."""
    away = True

    async def before(call: str, found: core.Service) -> None:
        if call == "delete" and away:
            raise Unavailable("away")

    def without(found: core.Service) -> None:
        found.spec.type = "ClusterIP"

    def elsewhere(found: core.Service) -> None:
        found.spec.type, found.spec.load_balancer_class = "LoadBalancer", "example.com/balancer"

    provider = FakeProvider(before=before)
    async with cluster(provider) as c:
        await c.client.create(service())
        await c.until(c.ingress)
        await c.edit(core.Service, "web", without)
        await c.until(lambda: provider.count("delete"))
        await c.edit(core.Service, "web", elsewhere)
        away = False
        await c.until(lambda: not provider.balancers)
        await c.until(lambda: not c.service().metadata.finalizers)
        await c.client.delete(core.Service, "web", NAMESPACE)
        await c.until(lambda: c.find_service() is None)


@virtual_time
async def test_what_others_do_to_the_status_is_undone_without_a_call() -> None:
    provider = FakeProvider()
    async with cluster(provider) as c:
        await c.client.create(service())
        await c.until(c.ingress)
        await c.edit(core.Service, "web", lambda found: found.status.load_balancer.Clear(), "status")
        assert not c.ingress()
        await c.until(c.ingress)
        await c.edit(core.Service, "web", lambda found: found.metadata.ClearField("finalizers"))
        await c.until(lambda: c.service().metadata.finalizers)
        assert provider.count("ensure") == 1


@virtual_time
async def test_limitations_are_told_once() -> None:
    provider = FakeProvider(limitations=["UDP is not balanced"])
    async with cluster(provider) as c:
        c.api.seed(node("node-1"), node("node-2"))
        await c.client.create(service())
        await c.until(lambda: c.events("LoadBalancerLimited"))
        await c.set_ready("node-2", "False")
        await c.until(lambda: provider.count("update") == 1)
        await asyncio.sleep(5)
        assert c.events("LoadBalancerLimited") == ["UDP is not balanced"]


@virtual_time
async def test_one_that_was_refused_is_tried_when_another_one_is_given_up_that_never_had_anything() -> None:
    provider = FakeProvider()
    owner = ""

    async def refuse(call: str, found: core.Service) -> None:
        nonlocal owner
        if call == "delete":
            owner = ""
        elif found.metadata.name == "first":
            owner = "first"
            raise Unavailable("half made")
        elif owner:
            raise Refused("the only one is taken")

    provider.before = refuse
    async with cluster(provider) as c:
        await c.client.create(service("first"))
        await c.until(lambda: owner)
        await c.client.create(service("second"))
        await asyncio.sleep(1000)
        await c.client.delete(core.Service, "first", NAMESPACE)
        await c.until(lambda: c.ingress("second"), seconds=1)


# Faults.


@virtual_time
async def test_a_failing_provider_is_tried_again_ever_more_rarely_and_the_user_is_told() -> None:
    provider = FakeProvider()
    failing = True

    async def fail(call: str, found: core.Service) -> None:
        if failing:
            raise Unavailable("no route to the provider")

    provider.before = fail
    async with cluster(provider) as c:
        await c.client.create(service())
        await asyncio.sleep(3600)
        # 1 + 2 + 4 … 256 s, then every 300 s, less the jitter.
        assert 17 <= provider.count("ensure") <= 26
        assert "no route to the provider" in c.events("SyncLoadBalancerFailed")[0]
        failing = False
        await c.until(c.ingress, seconds=400)


@virtual_time
async def test_a_change_of_the_wishes_does_not_wait_and_a_reverted_one_is_put_in_order() -> None:
    provider = FakeProvider()

    async def refuse(call: str, found: core.Service) -> None:
        if "fake.example/bad" in found.metadata.annotations:
            raise Refused("annotation fake.example/bad: must not be")

    provider.before = refuse
    async with cluster(provider) as c:
        await c.client.create(service())
        await c.until(c.ingress)
        await c.edit(core.Service, "web", lambda found: found.metadata.annotations.update({"fake.example/bad": "1"}))
        await asyncio.sleep(300)
        assert c.ingress(), "what was in force stays in force"
        tried = provider.count("ensure")
        await c.edit(core.Service, "web", lambda found: found.metadata.annotations.clear())
        await asyncio.sleep(600)
        assert provider.count("ensure") == tried + 1, "what a failed call has left behind is put in order"
        tried += 1
        await c.edit(core.Service, "web", lambda found: found.metadata.annotations.update({"fake.example/good": "1"}))
        await c.until(lambda: provider.count("ensure") == tried + 1, seconds=1)


@virtual_time
async def test_an_unexpected_error_of_a_provider_is_only_one_of_its_failures() -> None:
    provider = FakeProvider()
    errors = [KeyError("oops"), status_error("Conflict", "mine"), None]

    async def fail(call: str, found: core.Service) -> None:
        error = errors.pop(0)
        if error is not None:
            raise error

    provider.before = fail
    async with cluster(provider) as c:
        await c.client.create(service())
        await c.until(c.ingress)
        assert "KeyError" in c.events("SyncLoadBalancerFailed")[0]


@virtual_time
async def test_a_late_answer_holds_nobody_else_up_and_two_calls_for_one_service_never_meet() -> None:
    provider = FakeProvider()
    cancelled = 0

    async def hang(call: str, found: core.Service) -> None:
        nonlocal cancelled
        if found.metadata.name == "slow" and cancelled < 2:
            try:
                await asyncio.sleep(10_000)
            except asyncio.CancelledError:
                cancelled += 1
                raise

    provider.before = hang
    async with cluster(provider, call_timeout_seconds=30.0) as c:
        await c.client.create(service("slow"))
        await c.client.create(service("web"))
        await c.until(lambda: c.ingress("web"), seconds=1)
        # Changes while the call hangs: FakeProvider fails when a second one comes meanwhile.
        for number in range(5):
            await c.edit(core.Service, "slow", functools.partial(_set_port, 8000 + number))
            await asyncio.sleep(1)
        await c.until(lambda: c.ingress("slow"), seconds=120)
        assert cancelled == 2
        assert "did not answer EnsureLoadBalancer within 30 s" in c.events("SyncLoadBalancerFailed")[0]


@virtual_time
async def test_a_provider_that_says_how_long_to_wait_is_not_called_before() -> None:
    provider = FakeProvider()
    throttled = True

    async def throttle(call: str, found: core.Service) -> None:
        nonlocal throttled
        if throttled:
            throttled = False
            raise Throttled("too many requests", retry_after_seconds=40)

    provider.before = throttle
    async with cluster(provider) as c:
        await c.client.create(service("one"))
        await c.until(lambda: provider.calls)
        for name in ("two", "three"):
            await c.client.create(service(name))
        await asyncio.sleep(39)
        assert len(provider.calls) == 1
        await c.until(lambda: all(c.ingress(name) for name in ("one", "two", "three")), seconds=60)


@pytest.mark.parametrize("finalizers_too", [False, True], ids=["deleted", "torn out"])
def test_a_service_deleted_while_it_is_made_leaves_nothing_behind(finalizers_too: bool) -> None:
    @virtual_time
    async def scenario() -> None:
        provider = FakeProvider()
        deleted = asyncio.Event()

        async def wait(call: str, found: core.Service) -> None:
            if call == "ensure":
                await deleted.wait()

        provider.before = wait
        async with cluster(provider) as c:
            await c.client.create(service())
            await c.until(lambda: provider.count("ensure") == 1)
            await c.client.delete(core.Service, "web", NAMESPACE)
            if finalizers_too:
                await c.edit(core.Service, "web", lambda found: found.metadata.ClearField("finalizers"))
                assert c.find_service() is None
            deleted.set()
            await c.until(lambda: c.find_service() is None and provider.count("delete") and not provider.balancers)

    scenario()


@virtual_time
async def test_a_namesake_gets_a_load_balancer_of_its_own() -> None:
    provider = FakeProvider()
    async with cluster(provider) as c:
        await c.client.create(service())
        await c.until(c.ingress)
        # Gone without a word, and there again, between two looks.
        c.api.break_watches()
        await c.client.delete(core.Service, "web", NAMESPACE)
        await c.edit(core.Service, "web", lambda found: found.metadata.ClearField("finalizers"))
        await c.client.create(service())
        await c.until(lambda: c.ingress() == ["198.51.100.2"])
        assert list(provider.balancers) == [c.service().metadata.uid]


@virtual_time
async def test_a_failing_deletion_keeps_the_service_until_it_is_done() -> None:
    provider = FakeProvider()
    failures = 3

    async def fail(call: str, found: core.Service) -> None:
        nonlocal failures
        if call == "delete" and failures:
            failures -= 1
            raise Unavailable("later")

    provider.before = fail
    async with cluster(provider) as c:
        await c.client.create(service())
        await c.until(c.ingress)
        await c.client.delete(core.Service, "web", NAMESPACE)
        await c.until(lambda: c.find_service() is None, seconds=30)
        assert failures == 0 and "failed to delete load balancer: later" in c.events("SyncLoadBalancerFailed")[0]


@virtual_time
async def test_conflicts_and_lost_answers_of_the_api_repeat_no_call() -> None:
    provider = FakeProvider()
    async with cluster(provider) as c:
        conflict = status_error("Conflict", "changed meanwhile")
        c.api.fail_next(conflict, verb="patch", message_type=core.Service, times=2)
        c.api.fail_next(LOST, verb="patch", message_type=core.Service, after=True)
        c.api.fail_next(LOST, verb="patch", message_type=core.Service, subresource="status", times=3)
        await c.client.create(service())
        await c.until(c.ingress)
        assert provider.count("ensure") == 1


async def interrupted(steps: int) -> tuple[Cluster, FakeProvider]:
    """Makes, changes and deletes a Service under managers that are cut off after so many writes and calls each."""
    provider = FakeProvider(annotations={"fake.example/zone": "a"})
    left = steps

    async def spend(call: str, found: core.Service) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            await asyncio.sleep(1e6)

    provider.before = spend
    api = FaultyApi(VirtualClock())
    api.seed(node("node-1"))
    for done, act in STAGES:
        while not done(provider, api):
            async with cluster(provider, api) as c:
                await act(c)
                left = steps
                before = len(api.writes)
                for _ in range(2000):
                    if left <= 0 or len(api.writes) - before >= steps or done(provider, api):
                        break
                    await asyncio.sleep(0.001)
            steps += 1
    return c, provider


def _set_port(port: int, found: core.Service) -> None:
    found.spec.ports[0].port = port


async def _create(c: Cluster) -> None:
    if c.find_service() is None:
        await c.client.create(service())


async def _change(c: Cluster) -> None:
    if c.service().spec.ports[0].port != 81:
        await c.edit(core.Service, "web", lambda found: setattr(found.spec.ports[0], "port", 81))


async def _delete(c: Cluster) -> None:
    if c.find_service() is not None and not c.service().metadata.HasField("deletion_timestamp"):
        await c.client.delete(core.Service, "web", NAMESPACE)


def _stored(api: FaultyApi) -> core.Service | None:
    return next(iter(api.all(core.Service)), None)


STAGES = [
    (lambda provider, api: (found := _stored(api)) is not None and len(found.status.load_balancer.ingress) == 1, _create),
    (
        lambda provider, api: (found := _stored(api)) is not None and found.spec.ports[0].port == 81 and provider.count("ensure") >= 2,
        _change,
    ),
    (lambda provider, api: _stored(api) is None, _delete),
]


@pytest.mark.parametrize("steps", range(1, 7))
def test_a_manager_that_is_cut_off_at_any_step_is_taken_over_from(steps: int) -> None:
    @virtual_time
    async def scenario() -> None:
        _, provider = await interrupted(steps)
        assert not provider.balancers
        assert len(provider.addresses) == 1, "one Service has one load balancer"

    scenario()


@virtual_time
async def test_nodes_that_flap_do_not_hurry_a_provider_that_fails() -> None:
    provider = FakeProvider()

    async def fail(call: str, found: core.Service) -> None:
        if provider.count("ensure") + provider.count("update") > 1:
            raise Unavailable("no route to the provider")

    provider.before = fail
    async with cluster(provider) as c:
        c.api.seed(node("node-1"), node("node-2"))
        await c.client.create(service())
        await c.until(c.ingress)
        for _ in range(50):
            await c.set_ready("node-2", "Unknown")
            await asyncio.sleep(0.5)
            await c.set_ready("node-2", "True")
            await asyncio.sleep(0.5)
        assert provider.count("update") + provider.count("ensure") <= 9


@virtual_time
async def test_what_a_failed_call_has_half_made_is_removed_even_if_the_service_is_torn_out() -> None:
    provider = FakeProvider()

    async def fail_after(call: str, found: core.Service) -> None:
        if call == "ensure":
            provider.balancers[found.metadata.uid] = []
            raise Unavailable("half made")

    provider.before = fail_after
    async with cluster(provider) as c:
        await c.client.create(service())
        await c.until(lambda: provider.balancers)
        await c.client.delete(core.Service, "web", NAMESPACE)
        await c.edit(core.Service, "web", lambda found: found.metadata.ClearField("finalizers"))
        await c.until(lambda: not provider.balancers)
