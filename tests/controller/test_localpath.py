"""Volumes of local-path: made for a claim whose pod has a node, refused in words that say the way out, grown, and let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects import local_path
from knarr.objects.binding import PROVISIONED_BY, SELECTED_NODE
from services.controller.controllers.localpath.controller import LocalPathController
from services.controller.controllers.localpath.decide import Making, make
from services.controller.controllers.persistentvolumebinder.controller import PersistentVolumeBinder
from services.controller.controllers.pvcprotection.controller import ClaimProtectionController
from services.controller.controllers.pvprotection.controller import VolumeProtectionController
from tests.controller.cluster import Cluster, cluster
from tests.controller.objects import node
from tests.controller.storage import asking, sized, storage_class
from tests.support.virtual_time import virtual_time

CONTROLLERS = (LocalPathController, PersistentVolumeBinder, ClaimProtectionController, VolumeProtectionController)


def storing(name: str = "node-1") -> core.Node:
    made = node(name)
    made.metadata.annotations[local_path.FOLDERS] = "/srv/knarr/local-path"
    return made


def chosen(name: str = "data", size: str = "1Gi", on: str = "node-1") -> core.PersistentVolumeClaim:
    made = asking(name, size, of=local_path.CLASS)
    made.metadata.uid, made.metadata.annotations[SELECTED_NODE] = f"uid-{name}", on
    return made


def made_for(claim: core.PersistentVolumeClaim, on: core.Node | None = None) -> Making:
    return make(claim, local_path.default_class(), on)


def test_a_volume_is_a_folder_of_the_node_and_kept_for_the_claim() -> None:
    volume = made_for(chosen(), storing()).volume
    assert volume is not None and volume.metadata.name == "pvc-uid-data"
    assert volume.spec.persistent_volume_source.local.path == "/srv/knarr/local-path/pvc-uid-data"
    assert volume.spec.claim_ref.uid == "uid-data" and volume.metadata.annotations[PROVISIONED_BY] == local_path.PROVISIONER
    assert volume.metadata.labels[local_path.NODE_LABEL] == "node-1" and list(volume.metadata.finalizers) == [local_path.FINALIZER]
    terms = volume.spec.node_affinity.required.node_selector_terms
    assert [list(rule.values) for term in terms for rule in term.match_expressions] == [["node-1"]]


@pytest.mark.parametrize(
    ("spoil", "way_out"),
    [
        (lambda claim: setattr(claim.spec, "volume_mode", "Block"), "use volumeMode Filesystem"),
        (lambda claim: claim.spec.access_modes.__setitem__(0, "ReadWriteMany"), "use ReadWriteOnce or ReadWriteOncePod"),
        (lambda claim: claim.spec.selector.match_labels.update(a="b"), "claim Selector is not supported"),
        (lambda claim: setattr(claim.spec.data_source_ref, "name", "other"), "leave out dataSource"),
        (lambda claim: setattr(claim.spec, "volume_attributes_class_name", "fast"), "leave out volumeAttributesClassName"),
    ],
    ids=["block", "shared", "selector", "copy", "attributes"],
)
def test_what_a_folder_cannot_be_is_refused(spoil: Callable[[Any], object], way_out: str) -> None:
    claim = chosen()
    spoil(claim)
    answer = made_for(claim, storing())
    assert answer.volume is None and answer.claim is None
    assert answer.told[0].reason == "ProvisioningFailed" and way_out in answer.told[0].message and answer.told[0].warning


@pytest.mark.parametrize("on", [None, node("node-1")], ids=["gone", "no place"])
def test_another_node_is_chosen_where_this_one_cannot(on: core.Node | None) -> None:
    answer = made_for(chosen(), on)
    assert answer.claim is not None and SELECTED_NODE not in answer.claim.metadata.annotations


def test_a_class_that_does_not_wait_has_no_node() -> None:
    claim, hasty = chosen(), local_path.default_class()
    del claim.metadata.annotations[SELECTED_NODE]
    hasty.volume_binding_mode = "Immediate"
    assert "WaitForFirstConsumer" in make(claim, hasty, None).told[0].message
    assert made_for(claim) == Making()


async def bound(c: Cluster, name: str = "data") -> core.PersistentVolume:
    """The volume of a claim that is made and bound."""
    wanted = chosen(name)
    await c.client.create(wanted)
    await c.until(
        lambda: any(found.status.phase == "Bound" and found.metadata.name == name for found in c.api.all(core.PersistentVolumeClaim))
    )
    return next(found for found in c.api.all(core.PersistentVolume) if found.spec.claim_ref.name == name)


@virtual_time
async def test_a_claim_is_bound_grows_and_takes_its_volume_with_it() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        await c.client.create(local_path.default_class())
        await c.client.create(storing())
        volume = await bound(c)
        await asyncio.sleep(1)
        assert c.events("ProvisioningSucceeded") == [f"Successfully provisioned volume {volume.metadata.name}"]

        def more(claim: core.PersistentVolumeClaim) -> None:
            claim.spec.resources.requests["storage"].CopyFrom(meta.Quantity(string="3Gi"))

        await c.edit(core.PersistentVolumeClaim, "data", more)
        await c.until(lambda: c.api.all(core.PersistentVolumeClaim)[0].status.capacity["storage"].string == "3Gi")
        assert c.api.all(core.PersistentVolume)[0].spec.capacity["storage"].string == "3Gi"
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        await c.until(lambda: c.api.all(core.PersistentVolume)[0].metadata.deletion_timestamp.seconds)
        await asyncio.sleep(1)
        # Its node has yet to remove the folder.
        assert list(c.api.all(core.PersistentVolume)[0].metadata.finalizers) == [local_path.FINALIZER]


@virtual_time
async def test_a_volume_that_others_have_made_is_theirs_to_make_larger() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        theirs = storage_class("disks")
        theirs.allow_volume_expansion = True
        await c.client.create(theirs)
        await c.client.create(sized("disk", "1Gi", of="disks"))
        await asyncio.sleep(1)
        await c.client.create(asking("data", "1Gi", of="disks"))
        await c.until(lambda: c.api.all(core.PersistentVolumeClaim)[0].status.phase == "Bound")

        def more(claim: core.PersistentVolumeClaim) -> None:
            claim.spec.resources.requests["storage"].CopyFrom(meta.Quantity(string="3Gi"))

        await c.edit(core.PersistentVolumeClaim, "data", more)
        await asyncio.sleep(5)
        assert c.events("ExternalExpanding") == ["waiting for an external controller to expand this PVC"]
        assert c.api.all(core.PersistentVolumeClaim)[0].status.capacity["storage"].string == "1Gi"


@virtual_time
async def test_a_volume_whose_node_is_gone_is_let_go() -> None:
    async with cluster(kubelet=False, controllers=CONTROLLERS) as c:
        await c.client.create(local_path.default_class())
        await c.client.create(storing())
        await bound(c)
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        await asyncio.sleep(1)
        assert c.api.all(core.PersistentVolume)
        await c.client.delete(core.Node, "node-1")
        await c.until(lambda: not c.api.all(core.PersistentVolume))
        await asyncio.sleep(1)
        assert c.events("VolumeFailedDelete") == ["node node-1 is gone: the volume is let go, and its folder stays on that machine's disk"]
