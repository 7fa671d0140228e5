"""Volumes on disk: atomic updates, modes, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.files import refuse_escapes
from services.kubelet.container.inputs import ConfigError, ContainerInputs
from services.kubelet.container.plan import container_plan
from services.kubelet.node.view import NodeView
from services.kubelet.pod.directory import PodDirectory, check_host_path
from services.kubelet.pod.references import References
from services.kubelet.pod.volume_files import write_files
from services.kubelet.pod.volumes import File, HostDirectory, VolumeError, contents
from services.kubelet.runtime.plan import Mount, PodRef
from services.kubelet.runtime.port import Image, Sandbox
from tests.kubelet.support import make_pod

NODE = NodeView("node-1", "192.0.2.1", {"cpu": "4"})


def test_an_update_swings_one_link(tmp_path: Path) -> None:
    assert write_files(tmp_path, [File("a", b"1"), File("deep/b", b"2", 0o400)])
    first = (tmp_path / "..data").readlink()
    held = (tmp_path / "..data").resolve() / "a"
    assert (tmp_path / "deep" / "b").read_bytes() == b"2" and (tmp_path / "deep" / "b").stat().st_mode & 0o777 == 0o400
    assert not write_files(tmp_path, [File("a", b"1"), File("deep/b", b"2", 0o400)])
    assert (tmp_path / "..data").readlink() == first and held.exists()
    assert write_files(tmp_path, [File("a", b"changed")])
    assert (tmp_path / "a").read_bytes() == b"changed"
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("..")) == ["a"]
    assert not (tmp_path / first).exists()


def volume(**source: object) -> core.Pod:
    pod = make_pod()
    pod.spec.volumes.add(name="v").volume_source.CopyFrom(core.VolumeSource(**source))  # type: ignore[arg-type]
    return pod


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"secret": core.SecretVolumeSource(secret_name="none")}, 'MountVolume.SetUp failed for volume "v" : secret "none" not found'),
        ({"nfs": core.NFSVolumeSource(server="x")}, "this kubelet has none for nfs"),
        (
            {"config_map": core.ConfigMapVolumeSource(local_object_reference={"name": "c"}, items=[{"key": "k", "path": "p"}])},
            "references non-existent config key: k",
        ),
        (
            {"config_map": core.ConfigMapVolumeSource(local_object_reference={"name": "c"}, items=[{"key": "a", "path": "../p"}])},
            "may not contain '..'",
        ),
    ],
)
def test_what_cannot_be_mounted_says_why(source: dict[str, object], words: str) -> None:
    with pytest.raises(VolumeError) as refused:
        contents(volume(**source), References({"c": core.ConfigMap(data={"a": "b"})}), NODE)
    assert words in str(refused.value)


def test_host_path_types(tmp_path: Path) -> None:
    check_host_path(HostDirectory(str(tmp_path / "made"), "DirectoryOrCreate"))
    assert (tmp_path / "made").is_dir()
    with pytest.raises(VolumeError, match="is not a file"):
        check_host_path(HostDirectory(str(tmp_path / "made"), "File"))


def test_a_sub_path_leads_nowhere_but_into_its_volume(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "inside").mkdir(parents=True)
    (volume / "alias").symlink_to("inside")
    (volume / "escape").symlink_to("/")
    for innocent in ("inside", "alias", "not-there-yet"):
        refuse_escapes([Mount(str(volume / innocent), "/data", root=str(volume))])
    for evil in ("escape", "escape/etc"):
        with pytest.raises(ConfigError, match="leads out of its volume"):
            refuse_escapes([Mount(str(volume / evil), "/data", root=str(volume))])
    refuse_escapes([Mount("/etc", "/host")])


@pytest.mark.parametrize("sub_path", ["../other", "a/../../b", "/etc", "$(WHERE)"])
def test_a_sub_path_is_relative_and_never_goes_up(tmp_path: Path, sub_path: str) -> None:
    pod = make_pod()
    pod.spec.volumes.add(name="data").volume_source.host_path.path = "/srv"
    pod.spec.containers[0].volume_mounts.add(name="data", mount_path="/data", sub_path_expr=sub_path)

    def mounted(where: str) -> list[Mount]:
        sandbox = Sandbox("s", PodRef("default", "web", "uid"), 0, True)
        directory = PodDirectory(tmp_path, "uid")
        spec = pod.spec.containers[0]
        spec.env.add(name="WHERE", value=where)
        plan = container_plan(ContainerInputs(pod, spec, 0, sandbox, Image("i", "app:1"), References(), NODE, directory))
        return [mount for mount in plan.mounts if mount.target == "/data"]

    with pytest.raises(ConfigError, match="must be relative"):
        mounted("/etc")
    if sub_path == "$(WHERE)":
        assert mounted("in/here") == [Mount("/srv/in/here", "/data", root="/srv")]


def test_an_item_has_its_own_path_and_mode_or_the_volumes() -> None:
    pod = make_pod()
    source = pod.spec.volumes.add(name="config").volume_source.config_map
    source.local_object_reference.name, source.default_mode = "settings", 0o640
    source.items.add(key="own", path="deep/own", mode=0o600)
    source.items.add(key="plain", path="plain")
    found = core.ConfigMap(data={"own": "1", "plain": "2", "left-out": "3"})
    content = contents(pod, References(config_maps={"settings": found}), NODE, "10.0.0.1")["config"]
    assert content.files == (File("deep/own", b"1", 0o600), File("plain", b"2", 0o640))  # type: ignore[union-attr]
