"""Volumes and claims go when nobody uses them any more, and not before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.volumes import CLAIM_PROTECTION, VOLUME_PROTECTION, uses_claim
from services.controller.controllers.namespace.controller import NamespaceController
from services.controller.controllers.pvcprotection.controller import ClaimProtectionController
from services.controller.controllers.pvprotection.controller import VolumeProtectionController
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import claim, namespace, owned, pod, volume
from tests.support.virtual_time import virtual_time

CONTROLLERS = (ClaimProtectionController, VolumeProtectionController)


def user(name: str = "user", *, node: str = "node-1", used: str = "data") -> core.Pod:
    made = pod(name, node=node, phase="Running")
    made.spec.volumes.add(name="v").volume_source.persistent_volume_claim.claim_name = used
    return made


def test_a_pod_without_a_node_uses_nothing() -> None:
    assert uses_claim(user(), claim()) and not uses_claim(user(used="other"), claim()) and not uses_claim(user(node=""), claim())


@pytest.mark.parametrize(("controlled", "shut_down", "used"), [(True, False, True), (True, True, False), (False, False, False)])
def test_what_was_made_for_a_pod_alone_goes_with_it(controlled: bool, shut_down: bool, used: bool) -> None:
    target = pod("user", node="node-1")
    target.spec.volumes.add(name="v").volume_source.ephemeral.volume_claim_template.SetInParent()
    made = owned(claim("user-v"), target) if controlled else claim("user-v")
    if shut_down:
        target.metadata.deletion_timestamp.seconds, target.metadata.deletion_grace_period_seconds = 1, 0
    assert uses_claim(target, made) is used


def there(c: Cluster, kind: type[Any]) -> list[str]:
    return [found.metadata.name for found in c.api.all(kind)]


@virtual_time
async def test_both_are_protected_when_they_are_made_and_go_when_they_are_deleted() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        assert list((await c.client.create(claim())).metadata.finalizers) == [CLAIM_PROTECTION]
        assert list((await c.client.create(volume())).metadata.finalizers) == [VOLUME_PROTECTION]
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        await c.client.delete(core.PersistentVolume, "disk")
        await asyncio.sleep(1)
        assert there(c, core.PersistentVolumeClaim) == there(c, core.PersistentVolume) == []


@virtual_time
async def test_a_claim_stays_until_the_last_pod_that_uses_it_is_gone() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        c.api.seed(user("one"), user("two"))
        await c.client.create(claim())
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        for left in ("one", "two"):
            await asyncio.sleep(1)
            assert there(c, core.PersistentVolumeClaim) == ["data"]
            await c.client.delete(core.Pod, left, "default", grace_period_seconds=0)
        await asyncio.sleep(1)
        assert there(c, core.PersistentVolumeClaim) == []


@virtual_time
async def test_a_pod_that_the_copy_does_not_show_yet_keeps_its_claim() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        await c.client.create(claim())
        seen = c.manager.queues["pvcprotection"]
        held = asyncio.Event()
        reconcile = seen._reconcile

        async def late(key: Any) -> Any:
            await held.wait()
            return await reconcile(key)

        seen._reconcile = late
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        await asyncio.sleep(1)
        c.api.break_watches()
        c.api.seed(user())
        held.set()
        await asyncio.sleep(1)
        assert there(c, core.PersistentVolumeClaim) == ["data"]


@virtual_time
async def test_a_namespace_with_claims_goes() -> None:
    async with cluster(kubelet=False, controllers=(*CONTROLLERS, NamespaceController)) as c:
        await c.client.create(namespace("team"))
        held = claim()
        held.metadata.namespace = "team"
        await c.client.create(held)
        await c.client.delete(core.Namespace, "team")
        await asyncio.sleep(10)
        assert "team" not in there(c, core.Namespace)


@virtual_time
async def test_what_was_made_before_there_was_protection_gets_it() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        c.api.seed(claim("old"), volume("old"))
        await asyncio.sleep(1)
        assert list(c.api.all(core.PersistentVolumeClaim)[0].metadata.finalizers) == [CLAIM_PROTECTION]
        assert list(c.api.all(core.PersistentVolume)[0].metadata.finalizers) == [VOLUME_PROTECTION]
