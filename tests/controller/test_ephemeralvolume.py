"""Claims of pods' generic ephemeral volumes: made once, made again, never another's."""

from __future__ import annotations

import asyncio

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from knarr.objects.owners import is_controlled_by
from services.controller.controllers.ephemeralvolume.controller import EphemeralVolumeController
from services.controller.controllers.ephemeralvolume.decide import decide
from services.controller.controllers.garbagecollector.controller import GarbageCollector
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import claim, pod, with_scratch
from tests.support.virtual_time import virtual_time

ALONE = (EphemeralVolumeController,)


def claims(c: Cluster) -> list[str]:
    return [found.metadata.name for found in c.api.all(core.PersistentVolumeClaim)]


def test_a_claim_is_that_of_its_template() -> None:
    made = with_scratch(pod("db"))
    (wanted,) = decide(made, lambda name: None)
    assert (wanted.volume, wanted.claim.metadata.name, wanted.claim.metadata.namespace) == ("scratch", "db-scratch", "default")
    assert dict(wanted.claim.metadata.labels) == {"for": "scratch"}
    assert wanted.claim.spec == made.spec.volumes[0].volume_source.ephemeral.volume_claim_template.spec
    assert is_controlled_by(wanted.claim, made)
    assert list(decide(made, lambda name: wanted.claim)) == []
    made.metadata.deletion_timestamp.seconds = 1
    assert list(decide(made, lambda name: None)) == []


@virtual_time
async def test_it_is_made_and_made_again() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        c.api.seed(with_scratch(pod("db")), pod("plain"))
        await c.until(lambda: claims(c) == ["db-scratch"])
        first = c.api.all(core.PersistentVolumeClaim)[0]
        await c.client.delete(core.PersistentVolumeClaim, "db-scratch", "default")
        # As its protection would when nobody uses it.
        await c.client.patch(core.PersistentVolumeClaim, "db-scratch", "default", patch={"metadata": {"finalizers": None}})
        await c.until(lambda: claims(c) == ["db-scratch"] and c.api.all(core.PersistentVolumeClaim)[0].metadata.uid != first.metadata.uid)


@virtual_time
async def test_what_another_keeps_is_not_taken() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        other = claim("db-scratch")
        c.api.seed(other, with_scratch(pod("db")))
        words = "ephemeral volume scratch: PVC default/db-scratch was not created for pod default/db (pod is not owner)"
        await c.until(lambda: words in c.events("FailedBinding"))
        await c.client.delete(core.PersistentVolumeClaim, "db-scratch", "default")
        await c.until(lambda: any(found.metadata.owner_references for found in c.api.all(core.PersistentVolumeClaim)), 20)


@virtual_time
async def test_a_refusal_is_told_and_tried_again() -> None:
    async with cluster(kubelet=False, controllers=ALONE) as c:
        c.api.fail_next(status_error("Forbidden", "too many"), verb="create", message_type=core.PersistentVolumeClaim)
        c.api.seed(with_scratch(pod("db")))
        await c.until(lambda: claims(c) == ["db-scratch"])
        await asyncio.sleep(1)
        assert c.events("FailedBinding") == ["ephemeral volume scratch: create PVC db-scratch: too many"]


@virtual_time
async def test_it_goes_with_its_pod() -> None:
    async with cluster(kubelet=False, controllers=(*ALONE, GarbageCollector)) as c:
        c.api.seed(with_scratch(pod("db")))
        await c.until(lambda: claims(c) == ["db-scratch"])
        await c.client.delete(core.Pod, "db", "default", grace_period_seconds=0)
        await c.until(lambda: all(found.metadata.HasField("deletion_timestamp") for found in c.api.all(core.PersistentVolumeClaim)))
