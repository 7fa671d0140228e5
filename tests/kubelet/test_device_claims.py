"""A pod that asks for devices: a node that cannot prepare them says so, and begins nothing; a simulated one runs it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.kubelet.runtime.hollow import HollowRuntime
from tests.kubelet.claims import hollow
from tests.kubelet.support import make_pod, running
from tests.support.virtual_time import VirtualClock, virtual_time


@virtual_time
async def test_a_node_that_prepares_no_devices_says_so(tmp_path: Path) -> None:
    async with hollow(tmp_path) as c:
        pod = make_pod()
        pod.spec.resource_claims.add(name="card", resource_claim_name="my-card")
        await c.client.create(pod)
        await c.until(lambda: c.events("FailedPrepareDynamicResources"))
        (words,) = c.events("FailedPrepareDynamicResources")
        assert words.startswith("Failed to prepare dynamic resources: ") and words.endswith(": card")
        await asyncio.sleep(60)
        found, seen = c.pod(), c.observed()
        assert found is not None and found.status.phase == "Pending" and (seen is None or not seen.containers)
        (waits,) = (status.state.waiting for status in found.status.container_statuses)
        assert waits.reason == "ContainerCreating"
        await c.client.delete(type(found), "web", "default")
        await c.until(lambda: c.pod() is None)


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
