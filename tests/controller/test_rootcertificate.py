"""``kube-root-ca.crt`` is in every living namespace, as it should be."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from services.controller.controllers.rootcertificate.controller import RootCertificateController
from services.controller.controllers.rootcertificate.decide import DESCRIPTION, KEY, NAME, decide
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import namespace
from tests.support.virtual_time import virtual_time

CERTIFICATE = "-----BEGIN CERTIFICATE-----\n"
EVERYWHERE = ["default", "kube-node-lease", "kube-public", "kube-system"]


def kept(c: Cluster) -> dict[str, dict[str, str]]:
    return {found.metadata.namespace: dict(found.data) for found in c.api.all(core.ConfigMap) if found.metadata.name == NAME}


@virtual_time
async def test_every_namespace_has_one_also_one_that_comes_later() -> None:
    async with cluster(kubelet=False, controllers=(RootCertificateController,), root_certificate=CERTIFICATE) as c:
        await c.until(lambda: kept(c) == {name: {KEY: CERTIFICATE} for name in EVERYWHERE})
        await c.client.create(namespace("later"))
        await c.until(lambda: kept(c).get("later") == {KEY: CERTIFICATE})


@virtual_time
async def test_it_is_restored_when_it_is_changed_or_deleted() -> None:
    async with cluster(kubelet=False, controllers=(RootCertificateController,), root_certificate=CERTIFICATE) as c:
        await c.until(lambda: len(kept(c)) == len(EVERYWHERE))

        def spoil(found: core.ConfigMap) -> None:
            found.data[KEY] = "x"
            found.data["more"] = "y"
            found.metadata.labels["mine"] = "1"

        await c.edit(core.ConfigMap, NAME, spoil)
        await c.until(lambda: kept(c)["default"] == {KEY: CERTIFICATE})
        restored = await c.client.get(core.ConfigMap, NAME, "default")
        assert restored.metadata.labels["mine"] == "1" and restored.metadata.annotations[DESCRIPTION]
        await c.client.delete(core.ConfigMap, NAME, "default")
        await c.until(lambda: kept(c).get("default") == {KEY: CERTIFICATE})


@virtual_time
async def test_a_manager_without_a_certificate_keeps_none() -> None:
    async with cluster(kubelet=False, controllers=(RootCertificateController,)) as c:
        await c.client.create(namespace("later"))
        assert not kept(c)


@pytest.mark.parametrize("gone", ["phase", "deleted"])
def test_a_namespace_that_goes_gets_none(gone: str) -> None:
    going = core.Namespace(metadata=meta.ObjectMeta(name="going"))
    if gone == "phase":
        going.status.phase = "Terminating"
    else:
        going.metadata.deletion_timestamp.seconds = 1
    assert decide(going, None, CERTIFICATE) is None
