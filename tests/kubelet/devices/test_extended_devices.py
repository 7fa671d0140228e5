"""Devices that pods get for extended resources: by the claim that their status tells of, each container those of its requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.dra.v1 import plugin_pb2 as pb
from knarr.objects.owners import owner_reference
from tests.kubelet.devices.device_world import World, hurry, world
from tests.kubelet.support import make_pod

CLAIM, GPU = "web-extended-resources-1", "example.com/gpu"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def asking() -> core.Pod:
    made = make_pod("web")
    made.metadata.uid = "uid-web"
    for amounts in (made.spec.containers[0].resources.requests, made.spec.containers[0].resources.limits):
        amounts[GPU].string = "1"
    made.spec.containers.add(name="plain", image="app:1", image_pull_policy="IfNotPresent")
    told = made.status.extended_resource_claim_status
    told.resource_claim_name = CLAIM
    told.request_mappings.add(container_name="app", resource_name=GPU, request_name="container-0-request-0")
    return made


async def given(w: World, *, owned: bool) -> None:
    claim = await w.claim(CLAIM, "web")
    if owned:
        claim.metadata.owner_references.append(owner_reference(asking()))
        await w.c.client.update(claim)
    w.driver.devices = lambda _: [
        pb.Device(request_names=["container-0-request-0"], device_name="card-0", cdi_device_ids=["example.com/card=card"])
    ]
    w.api.seed(asking())


async def test_a_container_gets_what_its_request_was_given_and_the_driver_has_it_back(place: Path) -> None:
    async with world(place) as w:
        await given(w, owned=True)
        await w.c.ready()
        assert [device.target for device in w.plan().devices] == ["/dev/card"]
        assert not w.plan(name="plain").devices
        await w.end_pod()
        await w.clean()


async def test_a_claim_that_was_made_for_another_pod_is_refused(place: Path) -> None:
    async with world(place) as w:
        await given(w, owned=False)
        await w.c.until(lambda: w.c.events("FailedPrepareDynamicResources"))
        words = f"ResourceClaim default/{CLAIM} was not created for pod default/web (pod is not owner)"
        assert w.c.events("FailedPrepareDynamicResources")[0].endswith(words)
        assert not w.driver.calls
