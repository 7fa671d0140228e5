"""What a pod's claims are on the node: which volume is mounted, what is said of one that cannot be, and when a folder goes."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects import local_path
from services.kubelet.container.inputs import ContainerInputs
from services.kubelet.container.plan import container_plan
from services.kubelet.node import network_mounts
from services.kubelet.node.folders import remove_folder
from services.kubelet.node.network_mounts import MountFailed, mount_nfs
from services.kubelet.node.view import NodeView
from services.kubelet.pod.contents import BlockDevice, HostDirectory, NetworkDirectory, VolumeError
from services.kubelet.pod.directory import PodDirectory, make_folder
from services.kubelet.pod.ownership import Giving, give_to_group
from services.kubelet.pod.references import References
from services.kubelet.runtime.plan import Device, PodRef
from services.kubelet.runtime.port import Image, Sandbox
from tests.kubelet.pod.claims import bound, disk, folder, hollow, using
from tests.kubelet.support import NODE, contents, make_pod
from tests.support.virtual_time import virtual_time

VIEW = NodeView(NODE, "192.0.2.1", {"cpu": "4"}, folders="/srv/local-path")


def told(pod: core.Pod, claim: core.PersistentVolumeClaim | None = None, volume: core.PersistentVolume | None = None) -> Any:
    claims = {claim.metadata.name: claim} if claim is not None else {}
    volumes = {volume.metadata.name: volume} if volume is not None else {}
    return contents(pod, References(claims=claims, volumes=volumes), VIEW)["v"]


HOST = {"host_path": core.HostPathVolumeSource(path="/data", type="Directory")}
LOCAL: dict[str, Any] = {"local": core.LocalVolumeSource(path="/mnt/disk")}
NFS: dict[str, Any] = {"nfs": core.NFSVolumeSource(server="nfs.example.com", path="/exports")}


@pytest.mark.parametrize(
    ("source", "content"),
    [
        (HOST, HostDirectory("/data", "Directory")),
        (LOCAL, HostDirectory("/mnt/disk", "Directory", owned=True)),
        (NFS, NetworkDirectory("nfs.example.com", "/exports")),
    ],
    ids=["hostPath", "local", "nfs"],
)
def test_a_claim_is_its_volume(source: dict[str, Any], content: Any) -> None:
    assert told(using(), bound(), disk(**source)) == content
    assert told(using(read_only=True), bound(), disk(**source)).read_only


def test_a_folder_is_made_where_the_node_keeps_its_own() -> None:
    made = told(using(), bound(volume="pvc-1"), folder())
    assert made == HostDirectory("/srv/local-path/pvc-1", owned=True, made=True, size_bytes=2**30)


def test_options_are_those_of_a_network_volume() -> None:
    volume = disk(**NFS)
    volume.spec.mount_options.extend(["vers=4.1", "soft"])
    assert told(using(), bound(), volume).options == ("vers=4.1", "soft")


def block(**source: Any) -> core.PersistentVolume:
    return spoiled(disk(**source), lambda volume: setattr(volume.spec, "volume_mode", "Block"))


@pytest.mark.parametrize("source", [LOCAL, {"host_path": core.HostPathVolumeSource(path="/mnt/disk")}], ids=["local", "hostPath"])
def test_a_claim_may_be_a_block_device(source: dict[str, Any], tmp_path: Path) -> None:
    pod = using(read_only=True)
    assert told(pod, bound(), block(**source)) == BlockDevice("/mnt/disk", read_only=True)
    spec, read = pod.spec.containers[0], References(claims={"data": bound()}, volumes={"disk": block(**source)})
    spec.volume_devices.add(name="v", device_path="/dev/xvda")
    sandbox = Sandbox("s", PodRef("default", "web", "uid"), 0, True)
    inputs = ContainerInputs(pod, spec, 0, sandbox, Image("i", "app:1"), read, VIEW, PodDirectory(tmp_path, "uid"))
    assert container_plan(inputs).devices == (Device("/mnt/disk", "/dev/xvda", read_only=True),)
    with pytest.raises(VolumeError, match="volume v has volumeMode Filesystem, but is specified in volumeDevices"):
        told(pod, bound(), disk(**LOCAL))
    del spec.volume_devices[:]
    spec.volume_mounts.add(name="v", mount_path="/v")
    with pytest.raises(VolumeError, match="volume v has volumeMode Block, but is specified in volumeMounts"):
        told(pod, bound(), block(**source))


def test_what_is_no_block_device_is_not_shown_as_one(tmp_path: Path) -> None:
    for path, words in ((str(tmp_path), "is not a block device"), ("relative", "is not an absolute path"), ("/nowhere", "No such file")):
        with pytest.raises(VolumeError, match=rf'MapVolume.SetUpDevice failed for volume "v" : .*{words}') as refused:
            PodDirectory(tmp_path, "uid").set_up({"v": BlockDevice(path)})
        assert refused.value.reason == "FailedMapVolume"


def spoiled(volume: core.PersistentVolume, change: Callable[[core.PersistentVolume], object]) -> core.PersistentVolume:
    change(volume)
    return volume


UNBOUND = bound(volume="")
UNBOUND.status.phase = "Pending"


@pytest.mark.parametrize(
    ("claim", "volume", "words"),
    [
        (None, None, 'persistentvolumeclaim "data" not found'),
        (UNBOUND, None, 'PVC has non-bound phase ("Pending") or empty pvc.Spec.VolumeName ("")'),
        (bound(), None, "PV disk is not there, or not this claim's"),
        (bound(), disk("other", **LOCAL), "PV disk is not there, or not this claim's"),
        (
            bound(),
            spoiled(disk(**NFS), lambda volume: setattr(volume.spec, "volume_mode", "Block")),
            "shows nfs of PV disk as a block device",
        ),
        (bound(), disk(flex_volume=core.FlexPersistentVolumeSource(driver="d")), "this kubelet has none for flexVolume of PV disk"),
        (bound(), spoiled(disk(**LOCAL), lambda volume: volume.spec.mount_options.append("ro")), "only a volume of type nfs"),
        (bound(volume="pvc-1"), folder(node="node-2"), 'is a folder of node "node-2", and this is "node-1"'),
        (bound(volume="pvc-1"), folder(root="/etc"), "this node keeps it at /srv/local-path/pvc-1"),
    ],
    ids=["missing", "unbound", "no volume", "another's", "block", "driver of before", "options", "another node's", "elsewhere"],
)
def test_what_cannot_be_mounted_says_why(claim: Any, volume: Any, words: str) -> None:
    with pytest.raises(VolumeError) as caught:
        told(using(), claim, volume)
    assert words in str(caught.value) and 'MountVolume.SetUp failed for volume "v" : ' in str(caught.value)


def test_a_claim_that_was_not_made_for_the_pod_is_not_its_ephemeral_volume() -> None:
    pod = make_pod()
    pod.metadata.uid = "uid-web"
    pod.spec.volumes.add(name="v").volume_source.ephemeral.volume_claim_template.SetInParent()
    claim = bound("web-v")
    with pytest.raises(VolumeError, match="pod is not owner"):
        told(pod, claim, disk("web-v", **LOCAL))
    claim.metadata.owner_references.add(kind="Pod", name="web", uid="uid-web", controller=True)
    assert told(pod, claim, disk("web-v", **LOCAL)) == HostDirectory("/mnt/disk", "Directory", owned=True)


def test_a_folder_stays_as_it_is_when_it_is_mounted_again(tmp_path: Path) -> None:
    content = HostDirectory(str(tmp_path / "local-path" / "pvc-1"), owned=True, made=True)
    made = Path(content.path)
    for uid in ("one", "two"):
        PodDirectory(tmp_path, uid).set_up({"v": content})
        (made / uid).write_text("kept")
        PodDirectory(tmp_path, uid).remove()
    assert {path.name for path in made.iterdir()} == {"one", "two"}
    assert stat.S_IMODE(made.stat().st_mode) == 0o777 and stat.S_IMODE(made.parent.stat().st_mode) == 0o750


def test_what_lies_in_a_volume_belongs_to_the_group_and_no_link_is_followed(tmp_path: Path) -> None:
    group = os.getegid()
    victim = tmp_path / "victim"
    victim.write_text("secret")
    victim.chmod(0o600)
    root = tmp_path / "volume"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "file").write_text("x")
    (root / "deep" / "file").chmod(0o600)
    (root / "link").symlink_to(victim)
    os.mkfifo(root / "pipe")
    give_to_group(root, group)
    assert stat.S_IMODE((root / "deep" / "file").stat().st_mode) == 0o660
    assert stat.S_IMODE((root / "deep").stat().st_mode) & 0o2770 == 0o2770
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    (root / "deep" / "file").chmod(0o600)
    for giving in (Giving.ON_MISMATCH, Giving.NEVER):
        give_to_group(root, group, giving)
        assert stat.S_IMODE((root / "deep" / "file").stat().st_mode) == 0o600


def test_a_folder_is_removed_with_what_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    root, victim = tmp_path / "local-path", tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("kept")
    make_folder(root / "pvc-1")
    make_folder(root / "pvc-2")
    (root / "pvc-1" / "link").symlink_to(victim)
    assert remove_folder(root, "pvc-1") and not remove_folder(root, "pvc-1")
    assert [path.name for path in root.iterdir()] == ["pvc-2"] and (victim / "precious").exists()
    assert not remove_folder(tmp_path / "none", "pvc-1")


def test_a_mount_that_fails_says_so_in_the_words_of_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mount"
    program.write_text('#!/bin/sh\necho "mount.nfs: $*: no route" >&2\nexit 32\n')
    program.chmod(0o755)
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MountFailed, match=r"exit status 32: mount\.nfs: -t nfs -o soft,ro -- \[2001:db8::1\]:/exports .*/target: no route"):
        mount_nfs("2001:db8::1", "/exports", target, ("soft", "ro"))
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(network_mounts, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(MountFailed, match=r"nfs\.example\.com did not answer"):
        mount_nfs("nfs.example.com", "/exports", target)


@virtual_time
async def test_a_pod_waits_for_its_claim_and_its_folder_outlives_it(tmp_path: Path) -> None:
    root = tmp_path / "local-path"
    async with hollow(tmp_path) as c:
        node = await c.client.get(core.Node, NODE)
        assert node.metadata.annotations[local_path.FOLDERS] == str(root)
        await c.client.create(using())
        await c.until(lambda: any('"data" not found' in words for words in c.events("FailedMount")))
        c.api.seed(bound(volume="pvc-1"), folder(str(root)))
        await c.ready()
        (root / "pvc-1" / "row").write_text("1")
        await c.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await c.until(lambda: c.pod() is None)
        await c.client.create(using())
        await c.ready()
        assert (root / "pvc-1" / "row").read_text() == "1"


@pytest.mark.parametrize(("policy", "stays"), [("Delete", False), ("Retain", True)])
@virtual_time
async def test_a_deleted_volume_takes_its_folder_with_it_where_its_policy_says_so(tmp_path: Path, policy: str, stays: bool) -> None:
    root = tmp_path / "local-path"
    for name in ("pvc-1", "pvc-2"):
        make_folder(root / name)
    async with hollow(tmp_path) as c:
        used, other = folder(str(root)), folder(str(root), "node-2", "pvc-2")
        used.spec.persistent_volume_reclaim_policy = policy
        used.status.phase = "Bound"
        c.api.seed(used, other)
        for name in ("pvc-1", "pvc-2"):
            await c.client.delete(core.PersistentVolume, name)
        await asyncio.sleep(60)
        # A claim has it still.
        assert (root / "pvc-1").exists()
        released = await c.client.get(core.PersistentVolume, "pvc-1")
        released.status.phase = "Released"
        await c.client.update(released, subresource="status")
        await c.until(lambda: [found.metadata.name for found in c.api.all(core.PersistentVolume)] == ["pvc-2"])
        assert (root / "pvc-1").exists() is stays and (root / "pvc-2").exists()


@virtual_time
async def test_a_folder_stays_while_containers_of_a_pod_that_is_gone_run_in_it(tmp_path: Path) -> None:
    root = tmp_path / "local-path"
    async with hollow(tmp_path) as c:
        ended = folder(str(root))
        ended.status.phase = "Bound"
        c.api.seed(bound(volume="pvc-1"), ended)
        await c.client.create(using())
        await c.ready()
        stopping = asyncio.Event()
        stop = c.runtime.stop_container

        async def late(*arguments: Any) -> None:
            await stopping.wait()
            await stop(*arguments)

        c.runtime.stop_container = late
        await c.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await c.until(lambda: c.pod() is None)
        released = await c.client.get(core.PersistentVolume, "pvc-1")
        released.status.phase = "Released"
        await c.client.update(released, subresource="status")
        await c.client.delete(core.PersistentVolume, "pvc-1")
        await asyncio.sleep(60)
        assert (root / "pvc-1").exists() and c.api.all(core.PersistentVolume)
        stopping.set()
        # A claim of the same name has another volume.
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        c.api.seed(bound(volume="pvc-2"), folder(str(root), name="pvc-2"))
        await c.client.create(using())
        await c.until(lambda: [found.metadata.name for found in c.api.all(core.PersistentVolume)] == ["pvc-2"])
        await c.ready()
        assert [path.name for path in root.iterdir()] == ["pvc-2"]


@virtual_time
async def test_a_folder_elsewhere_is_left_and_that_is_said(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    make_folder(elsewhere / "pvc-1")
    async with hollow(tmp_path) as c:
        moved = folder(str(elsewhere))
        moved.status.phase = "Released"
        c.api.seed(moved)
        await c.client.delete(core.PersistentVolume, "pvc-1")
        await c.until(lambda: not c.api.all(core.PersistentVolume))
        assert (elsewhere / "pvc-1").exists()
        await c.until(lambda: any("is left as it is" in words for words in c.events("VolumeFailedDelete")))
