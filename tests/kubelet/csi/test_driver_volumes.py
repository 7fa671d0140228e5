"""Volumes of a real driver in pods: staged and published, used, and given back; what the driver is told on the way."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.errors import status_error
from knarr.objects.copies import copy_of
from services.kubelet.csi import mounts
from services.kubelet.node.mounts import mounts_below
from services.kubelet.runtime.plan import Device
from tests.kubelet.csi.driver_world import MACHINE, World, claim_and_volume, hurry, needs_mounts, rules, using, world
from tests.kubelet.support import NODE, condition
from tests.support.csi import controller, node
from tests.support.csi.driver import NAME
from tests.support.csi.faults import Fault

pytestmark = needs_mounts
Mode = node.Mode
DEVICES = sorted(path for path in Path("/dev").glob("*") if path.is_block_device())
WAY = ("NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def asked(w: World, method: str) -> Any:
    """What the driver was asked last."""
    return next(call.request for call in reversed(w.driver.calls) if call.method == method)


async def test_a_volume_goes_to_its_pod_and_back_with_its_data(place: Path) -> None:
    async with world(place) as w:
        for text in ("1", "12"):
            await w.c.client.create(using())
            await w.c.ready()
            with (w.target() / "row").open("a") as row:
                row.write(text[-1])
            assert (w.disk().path / "row").read_text() == text
            assert w.in_use == [f"kubernetes.io/csi/{NAME}^vol-disk"]
            assert stat.S_IMODE(w.target().parent.stat().st_mode) == 0o750
            await w.end_pod()
            await w.clean()
        assert w.driver.asked(*WAY) == [*WAY, *WAY]
        assert (w.disk().path / "row").read_text() == "12"


async def test_a_container_sees_what_the_driver_has_published(place: Path) -> None:
    async with world(place) as w:
        await w.c.client.create(using())
        await w.c.ready()
        plans = list(w.c.runtime._plans.values())
        found = [mount for plan in plans for mount in plan.mounts if mount.target == "/data"]
        assert [(mount.source, mount.read_only) for mount in found] == [(str(w.target()), False)]


@pytest.mark.skipif(not DEVICES, reason="a block device of this machine")
async def test_a_container_has_a_drivers_block_volume_as_a_device(place: Path) -> None:
    async with world(place) as w:
        volume = copy_of(w.api.all(core.PersistentVolume)[0])
        volume.spec.volume_mode = "Block"
        w.api.seed(volume)
        assert w.driver.node is not None
        w.driver.node.devices[w.disk().id] = DEVICES[0]
        pod = using()
        del pod.spec.containers[0].volume_mounts[:]
        pod.spec.containers[0].volume_devices.add(name="data", device_path="/dev/xvda")
        await w.c.client.create(pod)
        await w.c.ready()
        (plan,) = w.c.runtime._plans.values()
        assert plan.devices == (Device(str(w.target()), "/dev/xvda"),) and w.target().is_block_device()
        await w.end_pod()
        await w.clean()


async def test_two_pods_share_what_is_staged_once(place: Path) -> None:
    async with world(place) as w:
        for name in ("web", "api"):
            await w.c.client.create(using(name))
            await w.c.ready(name)
        (w.target("web") / "row").write_text("1")
        assert (w.target("api") / "row").read_text() == "1"
        await w.end_pod("web")
        assert (w.target("api") / "row").read_text() == "1" and w.in_use
        await w.end_pod("api")
        await w.clean()
        assert w.driver.asked(*WAY) == [WAY[0], WAY[1], WAY[1], WAY[2], WAY[2], WAY[3]]


async def test_a_volume_that_is_about_to_be_detached_is_not_mounted(place: Path) -> None:
    """The Node is told before its attachment goes: whoever has said since then that it is in use waits for it to come back."""
    async with world(place) as w:
        w.tell_node(attached=False)
        await w.c.client.create(using())
        await w.c.until(lambda: w.in_use)
        await asyncio.sleep(0.2)
        assert not w.driver.asked(*WAY) and not w.c.events("FailedMount")
        w.tell_node(attached=True)
        await w.c.ready()


async def test_it_waits_until_the_volume_is_attached_and_says_first_that_it_is_in_use(place: Path) -> None:
    async with world(place, attached=False) as w:
        await w.c.client.create(using())
        await w.c.until(lambda: w.in_use)
        await asyncio.sleep(0.2)
        assert not w.driver.asked(*WAY) and not w.c.events("FailedMount")
        w.attach()
        await w.c.ready()
        assert asked(w, "NodeStageVolume").publish_context == {"device": f"vol-disk@{MACHINE}"}
        assert asked(w, "NodePublishVolume").publish_context == {"device": f"vol-disk@{MACHINE}"}


async def test_a_pod_that_ends_before_its_volume_is_attached_leaves_nothing(place: Path) -> None:
    async with world(place, attached=False) as w:
        await w.c.client.create(using())
        await w.c.until(lambda: w.in_use)
        await w.end_pod()
        await w.clean()
        assert not w.driver.asked("NodeStageVolume", "NodePublishVolume")


async def test_nothing_is_mounted_before_the_node_says_that_it_is_in_use(place: Path) -> None:
    async with world(place) as w:
        w.api.fail_next(status_error("ServiceUnavailable", "injected"), verb="update", message_type=core.Node, times=3)
        await w.c.client.create(using())
        await w.c.until(lambda: w.driver.asked("NodeStageVolume"))
        assert w.in_use
        await w.c.ready()


@pytest.mark.parametrize("trouble", ["error", "deletion"])
async def test_what_keeps_a_volume_from_being_attached_is_told(place: Path, trouble: str) -> None:
    async with world(place) as w:
        found = w.api.all(storage.VolumeAttachment)[0]
        if trouble == "error":
            found.status.attached, found.status.attach_error.message = False, "no slot is free"
        else:
            found.metadata.deletion_timestamp.seconds = 1
            found.metadata.finalizers.append("external-attacher/disks")
        w.api.seed(found, checked=False)
        await w.c.client.create(using())
        await w.c.until(lambda: w.c.events("FailedMount"))
        words = "no slot is free" if trouble == "error" else "volume attachment is being deleted"
        assert w.c.events("FailedMount")[0] == f'MountVolume.SetUp failed for volume "disk" : {words}'
        assert not w.driver.asked(*WAY)
        await w.end_pod()
        await w.clean()


async def test_a_driver_that_attaches_nothing_is_not_waited_for(place: Path) -> None:
    alone = [kind for kind in controller.ALL if kind != controller.RPC.PUBLISH_UNPUBLISH_VOLUME]
    async with world(place, attached=False, controller_can=alone) as w:
        w.api.seed(rules(attach_required=False))
        await w.c.client.create(using())
        await w.c.ready()
        assert not w.in_use
        await w.end_pod()
        await w.clean()


async def test_a_driver_that_stages_nothing_is_not_asked_to(place: Path) -> None:
    async with world(place, node_can=()) as w:
        await w.c.client.create(using())
        await w.c.ready()
        assert not asked(w, "NodePublishVolume").staging_target_path
        (w.target() / "row").write_text("1")
        await w.end_pod()
        await w.clean()
        assert w.driver.asked(*WAY) == ["NodePublishVolume", "NodeUnpublishVolume"]
        assert (w.disk().path / "row").read_text() == "1"


async def test_a_pod_waits_for_its_driver_and_goes_on_at_once_when_it_comes(place: Path) -> None:
    async with world(place) as w:
        await w.registrar.stop()
        await w.c.until(lambda: not w.api.all(storage.CSINode)[0].spec.drivers)
        await w.c.client.create(using())
        await w.c.until(lambda: w.c.events("FailedMount"))
        words = f"driver name {NAME} not found in the list of registered CSI drivers"
        assert w.c.events("FailedMount")[0] == f'MountVolume.SetUp failed for volume "disk" : {words}'
        await w.registrar.start()
        await w.c.ready()


async def test_a_pod_ends_when_its_driver_is_back(place: Path) -> None:
    async with world(place) as w:
        await w.c.client.create(using())
        await w.c.ready()
        (w.target() / "row").write_text("1")
        await w.registrar.stop()
        await w.driver.stop()
        await w.c.until(lambda: not w.api.all(storage.CSINode)[0].spec.drivers)
        assert condition(w.c.pod(), "Ready") == "True"
        await w.c.client.delete(core.Pod, "web", "default", grace_period_seconds=1)
        await asyncio.sleep(0.3)
        assert w.c.pod() is not None and mounts_below(w.place)
        await w.driver.start()
        await w.registrar.start()
        await w.c.until(lambda: w.c.pod() is None)
        await w.clean()
        assert (w.disk().path / "row").read_text() == "1"


async def test_a_pod_that_has_ended_gives_its_volume_back_before_it_is_deleted(place: Path) -> None:
    async with world(place) as w:
        pod = using(restart_policy="Never")
        pod.spec.containers[0].command.extend(["sleep", "0"])
        await w.c.client.create(pod)
        await w.c.phase("Succeeded")
        await w.clean()
        await w.end_pod()


SENT: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "once": ({}, {"mode": Mode.SINGLE_NODE_MULTI_WRITER}, {}),
    "one pod": ({"access_modes": ["ReadWriteOncePod"]}, {"mode": Mode.SINGLE_NODE_SINGLE_WRITER}, {}),
    "many": ({"access_modes": ["ReadWriteMany"]}, {"mode": Mode.MULTI_NODE_MULTI_WRITER}, {}),
    "only read": ({"access_modes": ["ReadOnlyMany"]}, {"mode": Mode.MULTI_NODE_READER_ONLY}, {}),
    "an older driver": ({}, {"mode": Mode.SINGLE_NODE_WRITER}, {"node_can": (node.RPC.STAGE_UNSTAGE_VOLUME,)}),
    "an older driver, one pod": (
        {"access_modes": ["ReadWriteOncePod"]},
        {"mode": Mode.SINGLE_NODE_WRITER},
        {"node_can": (node.RPC.STAGE_UNSTAGE_VOLUME,)},
    ),
    "options": ({"mount_options": ["noatime", "discard"]}, {"flags": ["noatime", "discard"]}, {}),
}


@pytest.mark.parametrize(("spec", "said", "options"), SENT.values(), ids=SENT)
async def test_a_driver_is_told_how_the_volume_is_used(
    place: Path, spec: dict[str, Any], said: dict[str, Any], options: dict[str, Any]
) -> None:
    async with world(place, **options) as w:
        claim, volume = claim_and_volume()
        for name, values in spec.items():
            field = getattr(volume.spec, name)
            del field[:]
            field.extend(values)
        w.api.seed(claim, volume)
        await w.c.client.create(using())
        await w.c.ready()
        for method in WAY[:2]:
            told = asked(w, method).volume_capability
            assert told.access_mode.mode == said.get("mode", told.access_mode.mode)
            assert list(told.mount.mount_flags) == said.get("flags", []) and told.mount.fs_type == "ext4"


@pytest.mark.parametrize("where", ["claim", "volume"])
async def test_a_volume_that_is_only_read_is_published_so(place: Path, where: str) -> None:
    async with world(place) as w:
        claim, volume = claim_and_volume(read_only=where == "volume")
        w.api.seed(claim, volume)
        pod = using()
        pod.spec.volumes[0].volume_source.persistent_volume_claim.read_only = where == "claim"
        await w.c.client.create(pod)
        await w.c.ready()
        assert asked(w, "NodePublishVolume").readonly
        with pytest.raises(OSError, match="Read-only"):
            (w.target() / "row").write_text("1")


async def test_a_driver_gets_the_secrets_that_the_volume_names_and_the_pods_if_it_asks(place: Path) -> None:
    async with world(place) as w:
        named = {what: core.SecretReference(name=what, namespace="vault") for what in ("stage", "publish")}
        references: dict[str, Any] = {f"node_{what}_secret_ref": reference for what, reference in named.items()}
        claim, volume = claim_and_volume(volume_attributes={"share": "a"}, **references)
        secrets = []
        for what in ("stage", "publish"):
            secret = core.Secret(data={"key": what.encode()})
            secret.metadata.name, secret.metadata.namespace = what, "vault"
            secrets.append(secret)
        w.api.seed(claim, volume, secrets[1], rules(pod_info_on_mount=True))
        await w.c.client.create(using())
        await w.c.until(lambda: any('secrets "stage" not found' in words for words in w.c.events("FailedMount")))
        w.api.seed(secrets[0])
        pod = await w.c.ready()
        assert asked(w, "NodeStageVolume").secrets == {"key": "stage"} and asked(w, "NodePublishVolume").secrets == {"key": "publish"}
        assert asked(w, "NodeStageVolume").volume_context == {"share": "a"}
        assert asked(w, "NodePublishVolume").volume_context == {
            "share": "a",
            "csi.storage.k8s.io/pod.name": "web",
            "csi.storage.k8s.io/pod.namespace": "default",
            "csi.storage.k8s.io/pod.uid": pod.metadata.uid,
            "csi.storage.k8s.io/serviceAccount.name": "default",
            "csi.storage.k8s.io/ephemeral": "false",
        }
        kept = [path.read_text() for path in w.records]
        assert len(kept) == 2 and not any(secret in text for text in kept for secret in ("stage", "publish")), "secrets are kept nowhere"


@pytest.mark.parametrize("hidden", [False, True])
async def test_a_driver_that_asks_for_tokens_gets_them_and_new_ones(place: Path, hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "LOOK_AGAIN", mounts.LOOK_AGAIN / 600)
    async with world(place, signs=True) as w:
        wanted = [storage.TokenRequest(audience="vault", expiration_seconds=600)]
        w.api.seed(rules(token_requests=wanted, requires_republish=True, service_account_token_in_secrets=hidden))
        w.api.seed(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="default")))
        await w.c.client.create(using(automount_service_account_token=False))
        await w.c.ready()
        request = asked(w, "NodePublishVolume")
        shown, other = (request.secrets, request.volume_context) if hidden else (request.volume_context, request.secrets)
        told = json.loads(shown["csi.storage.k8s.io/serviceAccount.tokens"])
        assert told["vault"]["token"] and told["vault"]["expirationTimestamp"].endswith("Z") and not other
        await w.c.until(lambda: len(w.driver.asked("NodePublishVolume")) >= 3)
        assert len(w.driver.asked("NodeStageVolume")) == 1
        await w.end_pod()
        await w.clean()


GROUPS: dict[str, tuple[dict[str, Any], tuple[int, ...], bool]] = {
    "by the mode": ({}, node.ALL, True),
    "File": ({"fs_group_policy": "File"}, node.ALL, True),
    "None": ({"fs_group_policy": "None"}, node.ALL, False),
    "by the driver": ({}, (*node.ALL, node.RPC.VOLUME_MOUNT_GROUP), False),
}


@pytest.mark.parametrize(("spec", "can", "given"), GROUPS.values(), ids=GROUPS)
async def test_files_belong_to_the_pods_group_by_the_drivers_policy(
    place: Path, spec: dict[str, Any], can: tuple[int, ...], given: bool
) -> None:
    async with world(place, node_can=can) as w:
        if spec:
            w.api.seed(rules(**spec))
        (w.disk().path / "row").write_text("1")
        (w.disk().path / "row").chmod(0o600)
        pod = using()
        pod.spec.security_context.fs_group = 4711
        await w.c.client.create(pod)
        await w.c.ready()
        found = (w.target() / "row").stat()
        assert (found.st_gid == 4711 and stat.S_IMODE(found.st_mode) == 0o660) is given
        group = asked(w, "NodePublishVolume").volume_capability.mount.volume_mount_group
        assert group == ("4711" if node.RPC.VOLUME_MOUNT_GROUP in can else "")


def inline_pod() -> core.Pod:
    pod = using()
    source = pod.spec.volumes[0].volume_source
    source.Clear()
    source.csi.driver, source.csi.volume_attributes["size"] = NAME, "1"
    return pod


async def test_an_inline_volume_is_made_for_its_pod_and_goes_with_it(place: Path) -> None:
    async with world(place, disks=()) as w:
        w.api.seed(rules(volume_lifecycle_modes=["Ephemeral"], pod_info_on_mount=True))
        await w.c.client.create(inline_pod())
        await w.c.ready()
        (w.target(name="data") / "row").write_text("1")
        request = asked(w, "NodePublishVolume")
        assert request.volume_id.startswith("csi-") and len(request.volume_id) == 68
        assert request.volume_context["csi.storage.k8s.io/ephemeral"] == "true" and request.volume_context["size"] == "1"
        assert not request.staging_target_path and not w.in_use
        await w.end_pod()
        await w.clean()
        assert not w.driver.storage.disks


@pytest.mark.parametrize(
    ("modes", "words"),
    [
        ([], f'volume mode "Ephemeral" not supported by driver {NAME} (no CSIDriver object)'),
        (["Persistent"], f"volume mode \"Ephemeral\" not supported by driver {NAME} (only supports ['Persistent'])"),
    ],
    ids=["unsaid", "persistent alone"],
)
async def test_a_driver_that_serves_no_inline_volumes_is_not_asked(place: Path, modes: list[str], words: str) -> None:
    async with world(place, disks=()) as w:
        if modes:
            w.api.seed(rules(volume_lifecycle_modes=modes))
        await w.c.client.create(inline_pod())
        await w.c.until(lambda: w.c.events("FailedMount"))
        assert w.c.events("FailedMount")[0] == f'MountVolume.SetUp failed for volume "data" : {words}'
        await w.end_pod()
        await w.clean()


async def test_a_volume_that_was_made_larger_grows_while_it_is_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "LOOK_AGAIN", mounts.LOOK_AGAIN / 600)
    async with world(place) as w:
        await w.c.client.create(using())
        await w.c.ready()
        w.driver.faults.append(Fault("NodeExpandVolume"))
        w.disk().size_bytes = 2 << 30
        volume = await w.c.client.get(core.PersistentVolume, "disk")
        volume.spec.capacity["storage"].string = "2Gi"
        await w.c.client.update(volume)
        claim = await w.c.client.get(core.PersistentVolumeClaim, "disk", "default")
        claim.status.conditions.add(type="FileSystemResizePending", status="True")
        claim.status.allocated_resource_statuses["storage"] = "NodeResizePending"
        await w.c.client.update(claim, subresource="status")
        await w.c.until(lambda: w.c.events("FileSystemResizeSuccessful"))
        assert w.c.events("FileSystemResizeSuccessful") == [f'MountVolume.NodeExpandVolume succeeded for volume "disk" {NODE}']
        words = 'MountVolume.NodeExpandVolume failed for volume "disk" : rpc error: code = Internal desc = injected'
        assert words in w.c.events("VolumeResizeFailed")
        status = w.api.all(core.PersistentVolumeClaim)[0].status
        assert status.capacity["storage"].string == "2Gi" and not status.conditions and not status.allocated_resource_statuses
        assert w.disk().grown == {MACHINE: 2 << 30}
        assert asked(w, "NodeExpandVolume").volume_path == str(w.target())
