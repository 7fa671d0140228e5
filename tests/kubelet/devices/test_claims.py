"""Pods that ask for devices: made ready by their drivers before the first container, given back after the last, whatever befalls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.dra.v1 import plugin_pb2 as pb
from services.kubelet.component import Kubelet
from services.kubelet.devices import drivers as device_drivers
from services.kubelet.devices.records import NAME as FILE
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.plan import Device
from tests.kubelet.csi.driver_world import revive
from tests.kubelet.devices.device_world import KeptPlans, World, describe, hurry, kubelet, using, world
from tests.kubelet.support import make_pod, running, settings
from tests.support.api import FaultyApi
from tests.support.csi.faults import Fault, When
from tests.support.dra.driver import V1, V1BETA1
from tests.support.virtual_time import VirtualClock, virtual_time

PREPARE, UNPREPARE = WAY = ("NodePrepareResources", "NodeUnprepareResources")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@asynccontextmanager
async def revived(w: World) -> AsyncIterator[None]:
    task = asyncio.create_task(revive(w.driver))  # type: ignore[arg-type]
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def refused(w: World) -> str:
    """The words of why nothing is made ready."""
    await w.c.until(lambda: w.c.events("FailedPrepareDynamicResources"))
    words = w.c.events("FailedPrepareDynamicResources")[0]
    begin = "Failed to prepare dynamic resources: prepare dynamic resources: "
    assert words.startswith(begin)
    seen = w.c.observed()
    assert seen is None or not seen.containers
    return words.removeprefix(begin)


@pytest.mark.parametrize("service", [V1, V1BETA1])
async def test_a_pod_gets_its_device_and_gives_it_back(place: Path, service: str) -> None:
    async with world(place, service=service) as w:
        await w.claim("card", "web")
        w.api.seed(using())
        await w.c.ready()
        (call,) = w.driver.calls
        assert call.request.claims[0] == pb.Claim(namespace="default", uid="uid-card", name="card")
        plan = w.plan()
        assert Device("/dev/null", "/dev/card") in plan.devices
        assert ("CARD_CARD", "yes") in plan.process.env
        assert not plan.cdi_devices
        await w.end_pod()
        await w.clean()
        assert w.driver.asked() == list(WAY)


async def test_a_container_gets_what_its_requests_were_given_and_others_nothing(place: Path) -> None:
    async with world(place) as w:
        await w.claim("card", "web")
        w.driver.devices = lambda claim: [
            pb.Device(request_names=["one"], device_name="card-0", cdi_device_ids=["example.com/card=card"]),
            pb.Device(request_names=["two"], device_name="card-1", cdi_device_ids=["example.com/card=other"]),
        ]
        pod = using(request="two")
        pod.spec.containers.add(name="plain", image="app:1", image_pull_policy="IfNotPresent")
        w.api.seed(pod)
        await w.c.ready()
        assert [device.target for device in w.plan().devices] == ["/dev/other"]
        assert not w.plan(name="plain").devices


async def test_an_engine_that_reads_the_files_itself_is_told_the_names(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(place) as w:
        monkeypatch.setattr(type(w.runtime), "reads_cdi", property(lambda _: True))
        await w.claim("card", "web")
        w.api.seed(using())
        await w.c.ready()
        assert w.plan().cdi_devices == ("example.com/card=card",)
        assert not w.plan().devices


async def test_pods_share_a_claim_that_is_made_ready_once_and_given_back_after_the_last(place: Path) -> None:
    async with world(place) as w:
        await w.claim("card", "web", "api")
        w.api.seed(using("web"))
        w.api.seed(using("api"))
        await w.c.ready("web")
        await w.c.ready("api")
        assert w.driver.asked() == [PREPARE]
        await w.end_pod("web")
        assert w.driver.asked() == [PREPARE]
        await w.c.until(lambda: [record.pods for record in w.records] == [{"uid-api"}])
        assert w.driver.asked() == [PREPARE]
        await w.end_pod("api")
        await w.clean()
        assert w.driver.asked() == list(WAY)


async def test_all_claims_of_a_pod_are_asked_for_at_once(place: Path) -> None:
    async with world(place) as w:
        for name in ("card", "other"):
            await w.claim(name, "web")
        w.api.seed(using("web", "card", "other"))
        await w.c.ready()
        (call,) = w.driver.calls
        assert [claim.name for claim in call.request.claims] == ["card", "other"]


@pytest.mark.parametrize("when", When, ids=[when.value for when in When])
@pytest.mark.parametrize("method", WAY)
async def test_a_call_that_fails_is_made_again(place: Path, method: str, when: When) -> None:
    async with world(place) as w, revived(w):
        w.driver.faults.append(Fault(method, when, times=2, code=grpc.StatusCode.ABORTED))
        await w.claim("card", "web")
        w.api.seed(using())
        await w.c.ready()
        assert w.driver.ready == {"uid-card": "card"}
        await w.end_pod()
        await w.clean()
        assert len(w.driver.asked(method)) >= 3


def _skips(answer: Any) -> None:
    answer.claims.clear()


def _fails(answer: Any) -> None:
    answer.claims["uid-card"].error = "it is hot"


def _invents(answer: Any) -> None:
    answer.claims["uid-strange"].SetInParent()


LIES = {
    "NodePrepareResources skipped 1 ResourceClaims": _skips,
    "NodePrepareResources failed for ResourceClaim card: it is hot": _fails,
    "NodePrepareResources returned result for unknown claim UID uid-strange": _invents,
}


@pytest.mark.parametrize("words", LIES)
async def test_a_driver_that_says_otherwise_than_it_was_asked_is_told_of_and_asked_again(place: Path, words: str) -> None:
    async with world(place) as w:
        w.driver.twist = LIES[words]
        await w.claim("card", "web")
        w.api.seed(using())
        assert await refused(w) == words
        w.driver.twist = lambda answer: None
        await w.c.ready()


@pytest.mark.parametrize("lie", [_skips, lambda answer: setattr(answer.claims["uid-card"], "error", "busy"), _invents])
async def test_what_a_driver_does_not_say_to_be_given_back_is_kept(place: Path, lie: Callable[[Any], None]) -> None:
    async with world(place) as w:
        await w.claim("card", "web")
        w.api.seed(using())
        await w.c.ready()
        w.driver.twist = lie
        await w.c.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await w.c.until(lambda: len(w.driver.asked(UNPREPARE)) >= 3)
        assert w.records
        w.driver.twist = lambda answer: None
        await w.clean()


async def test_a_pod_waits_for_its_driver_to_register(place: Path) -> None:
    async with world(place, registered=False) as w:
        await w.claim("card", "web")
        w.api.seed(using())
        assert await refused(w) == "DRA driver cards.example.com is not registered"
        # Of whom nothing was asked, nothing is kept: the pod may go although its driver never comes.
        assert not w.records
        await w.registrar.start()
        await w.c.ready()


async def test_a_pod_whose_driver_never_came_goes(place: Path) -> None:
    async with world(place, registered=False) as w:
        await w.claim("card", "web")
        w.api.seed(using())
        await refused(w)
        await w.end_pod()


@pytest.mark.parametrize(
    ("versions", "words"),
    [(("v1alpha4.Node",), '(["v1alpha4.Node"]) are supported by the kubelet'), ((), "empty list of supported gRPC services")],
)
async def test_a_driver_that_speaks_another_contract_is_told_so(place: Path, versions: tuple[str, ...], words: str) -> None:
    async with world(place, registered=False) as w:
        w.registrar._info.ClearField("supported_versions")
        w.registrar._info.supported_versions.extend(versions)
        await w.registrar.start()
        await w.c.until(lambda: w.registrar.told)
        assert not w.registrar.told[0].plugin_registered
        assert words in w.registrar.told[0].error


async def test_a_claim_that_is_not_kept_for_the_pod_is_none_of_its(place: Path) -> None:
    async with world(place) as w:
        await w.claim("card", "somebody")
        w.api.seed(using())
        assert await refused(w) == "pod web (uid-web) is not allowed to use ResourceClaim card (uid-card)"
        assert not w.driver.calls


async def test_a_claim_that_is_not_there_is_told(place: Path) -> None:
    async with world(place) as w:
        w.api.seed(using())
        assert (await refused(w)).startswith("fetch ResourceClaim card: ")


async def test_a_claim_of_a_template_that_was_made_for_another_pod_is_refused(place: Path) -> None:
    async with world(place) as w:
        await w.claim("web-card-x", "web")
        pod = using()
        pod.spec.resource_claims[0].ClearField("resource_claim_name")
        pod.spec.resource_claims[0].resource_claim_template_name = "one-card"
        pod.status.resource_claim_statuses.add(name="card", resource_claim_name="web-card-x")
        w.api.seed(pod)
        assert await refused(w) == "ResourceClaim default/web-card-x was not created for pod default/web (pod is not owner)"


@pytest.mark.parametrize("when", [When.HANGS, When.SILENT], ids=["before", "after"])
async def test_a_kubelet_that_dies_on_the_way_there_is_followed_by_one_that_goes_on(
    place: Path, when: When, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_drivers, "CALL_SECONDS", 60.0)
    async with world(place) as w:
        w.driver.faults.append(Fault(PREPARE, when))
        await w.claim("card", "web")
        w.api.seed(using())
        await w.c.until(w.driver.asked)
        await w.kill_kubelet()
        async with kubelet(place, w.api, w.runtime) as w.c:
            await w.c.ready()
            assert Device("/dev/null", "/dev/card") in w.plan().devices
            await w.end_pod()
            await w.clean()


@pytest.mark.parametrize("when", [When.HANGS, When.SILENT], ids=["before", "after"])
@pytest.mark.parametrize("method", WAY)
async def test_a_kubelet_that_dies_is_followed_by_one_that_gives_back(
    place: Path, method: str, when: When, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod is deleted by force while no kubelet runs: neither the API nor the engine knows of it any more."""
    monkeypatch.setattr(device_drivers, "CALL_SECONDS", 60.0)
    async with world(place) as w:
        w.driver.faults.append(Fault(method, when))
        await w.claim("card", "web")
        w.api.seed(using())
        if method == UNPREPARE:
            await w.c.ready()
            await w.c.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await w.c.until(lambda: method in w.driver.asked())
        await w.kill_kubelet()
        if w.c.pod() is not None:
            await w.c.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        async with kubelet(place, w.api, w.runtime) as w.c:
            await w.clean()
            await w.c.until(lambda: not list((place / "pods").iterdir()))


async def test_a_pod_runs_on_under_a_kubelet_that_starts_anew_although_its_driver_is_away(place: Path) -> None:
    async with world(place) as w:
        await w.claim("card", "web")
        w.api.seed(using())
        await w.c.ready()
        await w.kill_kubelet()
        await w.registrar.stop()
        await w.driver.stop()
        async with kubelet(place, w.api, w.runtime) as w.c:
            await w.c.ready()
            w.runtime.plans.clear()
            w.runtime.exit("uid-web", "app", 1)
            # Its container starts again with what was made ready before.
            await w.c.until(lambda: ("web", "app") in w.runtime.plans, 30)
            assert Device("/dev/null", "/dev/card") in w.plan().devices
            assert not w.c.events("FailedPrepareDynamicResources")


async def test_what_a_kubelet_before_it_had_made_ready_is_made_ready_again_for_a_pod_that_begins(place: Path) -> None:
    """The machine may have started anew meanwhile, and what the driver laid in memory be gone."""
    async with world(place) as w:
        await w.claim("card", "web", "api")
        w.api.seed(using("web"))
        await w.c.ready("web")
        await w.kill_kubelet()
        async with kubelet(place, w.api, w.runtime) as w.c:
            w.api.seed(using("api"))
            await w.c.ready("api")
            assert w.driver.asked() == [PREPARE, PREPARE]


async def test_a_pod_has_not_ended_before_its_devices_are_given_back(place: Path) -> None:
    async with world(place) as w:
        await w.claim("card", "web")
        w.driver.faults.append(Fault(UNPREPARE, times=3))
        w.api.seed(using(restart_policy="Never"))
        await w.c.ready()
        w.runtime.exit("uid-web", "app", 0)
        phases = set()
        while w.driver.ready:
            found = w.c.pod()
            assert found is not None
            phases.add(found.status.phase)
            await asyncio.sleep(0.01)
        assert phases == {"Running"}
        await w.c.phase("Succeeded")
        await w.clean()


async def test_a_device_that_no_file_describes_is_told_and_looked_for_again(place: Path) -> None:
    async with world(place) as w:
        describe(place / "cdi", "other")
        await w.claim("card", "web")
        w.api.seed(using())
        await w.c.until(lambda: w.c.events("Failed"))
        assert w.c.events("Failed")[0] == "Error: unresolvable CDI devices example.com/card=card"

        def reasons() -> list[str]:
            found = w.c.pod()
            assert found is not None
            return [status.state.waiting.reason for status in found.status.container_statuses]

        # The event comes before the status that tells of it.
        await w.c.until(lambda: reasons() == ["CreateContainerError"])
        describe(place / "cdi", "card")
        await w.c.ready()


async def test_records_that_cannot_be_read_keep_the_kubelet_from_beginning(place: Path) -> None:
    (place / FILE).write_text("{")

    with pytest.raises(OSError, match="drain the node"):
        await Kubelet(FaultyApi().client(), settings(place), KeptPlans()).run()


@virtual_time
async def test_a_simulated_node_has_whatever_devices_there_are(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with running(HollowRuntime("10.244.0.0/24", clock=clock), tmp_path, clock=clock) as c:
        pod = make_pod()
        pod.spec.resource_claims.add(name="card", resource_claim_template_name="one-card")
        pod.status.resource_claim_statuses.add(name="card", resource_claim_name="web-card-abcde")
        c.api.seed(pod)
        # A node may not change which claims were made for its pods.
        found = await c.ready()
        assert found.status.resource_claim_statuses == pod.status.resource_claim_statuses
        assert not c.events("FailedPrepareDynamicResources")
