"""Volumes of drivers are attached where pods use them and detached where nobody does, and what pods are told meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.csi import attachment_name, volume_id
from knarr.objects.nodes import OUT_OF_SERVICE
from services.controller.controllers.attachdetach.controller import AttachDetachController
from services.controller.controllers.attachdetach.decide import (
    UNMOUNT_SECONDS,
    Decision,
    Facts,
    decide,
    volumes_attached,
    wants_its_volumes,
)
from tests.controller.cluster import Cluster, cluster
from tests.controller.disks import DRIVER, FakeAttacher, disk, driver, held, id_of, machine, writer
from tests.controller.storage import sized
from tests.support.api import FaultyClient
from tests.support.virtual_time import virtual_time


def attachment(node: str, *, attached: bool = True, leaving: bool = False, name: str = "") -> storage.VolumeAttachment:
    made = storage.VolumeAttachment()
    made.metadata.name = name or attachment_name("handle-disk", DRIVER, node)
    made.spec.attacher, made.spec.node_name, made.spec.source.persistent_volume_name = DRIVER, node, "disk"
    made.status.attached = attached
    if leaving:
        made.metadata.deletion_timestamp.seconds = 1
    return made


def facts(
    users: Mapping[str, Sequence[core.Pod]],
    *attachments: storage.VolumeAttachment,
    volume: core.PersistentVolume | None = None,
    nodes: Sequence[core.Node] = (),
    unwanted_seconds: float = 0.0,
    **others: Any,
) -> Facts:
    there = nodes or (machine("node-1"), machine("node-2"))
    unwanted = {found.spec.node_name: unwanted_seconds for found in attachments}
    return Facts("disk", volume or disk(), users, attachments, {one.metadata.name: one for one in there}, unwanted, **others)


def places(decision: Decision) -> tuple[list[str], list[str]]:
    """Where it is attached, and where detached."""
    return [one.spec.node_name for one in decision.attach], [one.spec.node_name for one in decision.detach]


def test_names_are_those_of_kubernetes() -> None:
    # As kube-controller-manager computes it: sha256 of handle, driver and node, one after the other.
    assert (
        attachment_name("vol-0123", "ebs.csi.aws.com", "node-a") == "csi-75ca382fa280a2856eb71379f0b86ec93393f4c0275616e3d8d803542c2f3d83"
    )
    assert volume_id("ebs.csi.aws.com", "vol-0123") == "kubernetes.io/csi/ebs.csi.aws.com^vol-0123"


def test_a_volume_is_attached_where_a_pod_uses_it() -> None:
    decision = decide(facts({"node-1": [writer()]}))
    made = decision.attach[0]
    assert made.metadata.name == attachment_name("handle-disk", DRIVER, "node-1")
    assert (made.spec.attacher, made.spec.node_name, made.spec.source.persistent_volume_name) == (DRIVER, "node-1", "disk")
    assert decision.refused == [] and decision.look_again_seconds is None


def test_what_cannot_be_attached_is_not() -> None:
    found = facts({"node-1": [writer()]})
    assert places(decide(found)) == (["node-1"], [])
    for spoiled in (
        replace(found, attached_first=False),
        replace(found, nodes={"node-2": machine("node-2")}),
        replace(found, volume=None),
        replace(found, volume=sized("disk", "1Gi")),
    ):
        assert places(decide(spoiled)) == ([], [])


def test_one_node_has_a_volume_that_is_for_one() -> None:
    first, second = writer("first", "node-2"), writer("second", "node-1")
    first.metadata.creation_timestamp.seconds, second.metadata.creation_timestamp.seconds = 1, 2
    decision = decide(facts({"node-1": [second], "node-2": [first]}))
    assert places(decision) == (["node-2"], [])
    words = 'Multi-Attach error for volume "disk" Volume is already used by pod(s) first'
    assert [(refusal.pods[0].metadata.name, refusal.words) for refusal in decision.refused] == [("second", words)]


def test_a_volume_for_many_is_attached_to_many() -> None:
    wanted = {"node-1": [writer()], "node-2": [writer("other", "node-2")]}
    assert places(decide(facts(wanted, volume=disk(modes=["ReadWriteMany"])))) == (["node-2", "node-1"], [])


def test_pods_of_other_namespaces_are_counted_only() -> None:
    stranger = writer("secret")
    stranger.metadata.namespace = "other"
    wanted = {"node-1": [stranger, writer("near")], "node-2": [writer("late", "node-2")]}
    words = [refusal.words for refusal in decide(facts(wanted, attachment("node-1"))).refused]
    assert words == ['Multi-Attach error for volume "disk" Volume is already used by pod(s) near and 1 pod(s) in different namespaces']
    only = decide(facts({"node-1": [stranger], "node-2": [writer("late", "node-2")]}, attachment("node-1"))).refused
    assert only[0].words == 'Multi-Attach error for volume "disk" Volume is already used by 1 pod(s) in different namespaces'


def test_nobody_is_told_of_a_volume_that_is_on_its_way() -> None:
    decision = decide(facts({"node-2": [writer(on="node-2")]}, attachment("node-1", leaving=True)))
    assert places(decision) == ([], []) and decision.refused == []


def test_a_volume_stays_while_its_node_has_it_mounted_and_is_healthy() -> None:
    mounted = machine("node-1", mounted=[disk()])
    decision = decide(facts({}, attachment("node-1"), nodes=[mounted], unwanted_seconds=10 * UNMOUNT_SECONDS))
    assert places(decision) == ([], []) and decision.look_again_seconds is None
    waits = decide(facts({}, attachment("node-1"), nodes=[mounted], unwanted_seconds=10.0))
    assert places(waits) == ([], []) and waits.look_again_seconds == UNMOUNT_SECONDS - 10


@pytest.mark.parametrize(("seconds", "gone"), [(UNMOUNT_SECONDS - 1, []), (UNMOUNT_SECONDS, ["node-1"])])
def test_a_silent_node_is_waited_for_six_minutes(seconds: float, gone: list[str]) -> None:
    silent = machine("node-1", ready=False, mounted=[disk()])
    assert places(decide(facts({}, attachment("node-1"), nodes=[silent], unwanted_seconds=seconds)))[1] == gone


@pytest.mark.parametrize("lost", ["gone", "out of service"])
def test_a_node_that_cannot_answer_is_not_waited_for(lost: str) -> None:
    out = machine("node-1", ready=False, mounted=[disk()])
    out.spec.taints.add(key=OUT_OF_SERVICE, effect="NoExecute")
    decision = decide(facts({}, attachment("node-1"), nodes=[machine("node-2") if lost == "gone" else out]))
    assert places(decision) == ([], ["node-1"])


def test_a_node_is_told_before_a_volume_is_detached() -> None:
    told = machine("node-1")
    told.status.volumes_attached.add(name=id_of(disk()))
    found = facts({}, attachment("node-1"), nodes=[told])
    decision = decide(found)
    assert places(decision) == ([], []) and decision.untold == ["node-1"]
    assert volumes_attached("node-1", [attachment("node-1")], {"disk": found}) == []
    used = facts({"node-1": [writer()]}, attachment("node-1"), nodes=[told])
    assert [one.name for one in volumes_attached("node-1", [attachment("node-1")], {"disk": used})] == [id_of(disk())]


def test_what_was_attached_by_hand_is_left_alone() -> None:
    assert places(decide(facts({}, attachment("node-1", name="by-hand")))) == ([], [])


@pytest.mark.parametrize(("status", "wanted"), [("running", True), ("terminated", False)])
def test_a_pod_that_is_being_deleted_wants_its_volumes_while_it_runs(status: str, wanted: bool) -> None:
    leaving = writer()
    leaving.metadata.deletion_timestamp.seconds = 1
    getattr(leaving.status.container_statuses.add(name="app").state, status).SetInParent()
    assert wants_its_volumes(leaving) is wanted
    leaving.status.phase = "Succeeded"
    assert not wants_its_volumes(leaving)


@asynccontextmanager
async def attaching(**options: Any) -> AsyncIterator[Cluster]:
    async with cluster(kubelet=False, controllers=[AttachDetachController]) as c:
        attacher = asyncio.create_task(FakeAttacher(c.api.client(), **options).run())
        c.api.seed(machine("node-1"), machine("node-2"), driver(), disk(), held())
        yield c
        attacher.cancel()


def attached(c: Cluster) -> list[str]:
    return [found.spec.node_name for found in c.api.all(storage.VolumeAttachment) if found.status.attached]


def told(c: Cluster, name: str = "node-1") -> list[str]:
    found = next(one for one in c.api.all(core.Node) if one.metadata.name == name)
    return [one.name for one in found.status.volumes_attached]


async def mount(c: Cluster, name: str, *volumes: core.PersistentVolume) -> None:
    """The node says what it has mounted."""

    def change(found: core.Node) -> None:
        found.status.volumes_in_use[:] = [id_of(volume) for volume in volumes]

    await c.edit(core.Node, name, change, "", "status")


@virtual_time
async def test_a_volume_follows_its_pod_to_another_node() -> None:
    async with attaching() as c:
        c.api.seed(writer())
        await c.until(lambda: told(c) == [id_of(disk())])
        await mount(c, "node-1", disk())
        await asyncio.sleep(1)
        assert c.events("SuccessfulAttachVolume") == ['AttachVolume.Attach succeeded for volume "disk" ']
        c.api.seed(writer("late", "node-2"))
        await asyncio.sleep(1)
        assert attached(c) == ["node-1"]
        assert c.events("FailedAttachVolume") == ['Multi-Attach error for volume "disk" Volume is already used by pod(s) writer']
        await c.client.delete(core.Pod, "writer", "default", grace_period_seconds=0)
        await asyncio.sleep(UNMOUNT_SECONDS * 2)
        assert attached(c) == ["node-1"], "it is mounted there, and the node is well"
        await mount(c, "node-1")
        await c.until(lambda: attached(c) == ["node-2"] and told(c) == [] and told(c, "node-2") == [id_of(disk())])


@virtual_time
async def test_an_error_of_the_driver_is_told_once() -> None:
    async with attaching(fail=["node-1"]) as c:
        c.api.seed(writer())
        await asyncio.sleep(300)
        assert c.events("FailedAttachVolume") == ['AttachVolume.Attach failed for volume "disk" : the rack is full']
        assert told(c) == []


@virtual_time
async def test_an_answer_that_comes_after_the_news_of_what_was_made_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    create = FaultyClient.create

    async def slowly(self: FaultyClient, obj: Any, **options: Any) -> Any:
        made = await create(self, obj, **options)
        await asyncio.sleep(5 if isinstance(obj, storage.VolumeAttachment) else 0)
        return made

    monkeypatch.setattr(FaultyClient, "create", slowly)
    async with attaching() as c:
        c.api.seed(writer())
        await asyncio.sleep(300)
        assert c.events("SuccessfulAttachVolume") == ['AttachVolume.Attach succeeded for volume "disk" ']
        assert c.events("FailedAttachVolume") == [] and told(c) == [id_of(disk())]


@virtual_time
async def test_a_driver_that_says_nothing_is_told_of() -> None:
    async with cluster(kubelet=False, controllers=[AttachDetachController]) as c:
        c.api.seed(machine("node-1"), disk(), held(), writer())
        await asyncio.sleep(119)
        assert c.events("FailedAttachVolume") == []
        await asyncio.sleep(10)
        assert c.events("FailedAttachVolume") == [
            'AttachVolume.Attach failed for volume "disk" : '
            "timed out waiting for external-attacher of disks.example.com CSI driver to attach volume handle-disk"
        ]


@virtual_time
async def test_volumes_of_a_silent_node_are_detached_after_six_minutes() -> None:
    async with attaching() as c:
        c.api.seed(writer())
        await c.until(lambda: told(c))
        await mount(c, "node-1", disk())

        def silent(found: core.Node) -> None:
            found.status.conditions[0].status = "Unknown"

        await c.edit(core.Node, "node-1", silent, "", "status")
        await c.client.delete(core.Pod, "writer", "default", grace_period_seconds=0)
        await asyncio.sleep(UNMOUNT_SECONDS - 5)
        assert attached(c) == ["node-1"]
        await asyncio.sleep(10)
        assert attached(c) == [] and told(c) == []


@virtual_time
async def test_nothing_is_attached_for_a_driver_that_says_so() -> None:
    async with cluster(kubelet=False, controllers=[AttachDetachController]) as c:
        c.api.seed(machine("node-1"), driver(attach=False), disk(), held(), writer())
        await asyncio.sleep(5)
        assert c.api.all(storage.VolumeAttachment) == []


@virtual_time
async def test_an_attachment_whose_volume_is_gone_goes() -> None:
    async with attaching() as c:
        c.api.seed(writer())
        await c.until(lambda: told(c))
        await c.client.delete(core.PersistentVolume, "disk")
        await c.client.delete(core.Pod, "writer", "default", grace_period_seconds=0)
        await asyncio.sleep(5)
        assert c.api.all(storage.VolumeAttachment) == [] and told(c) == []
