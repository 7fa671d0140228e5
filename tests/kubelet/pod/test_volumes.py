"""Volumes on disk: atomic updates, modes, refusals."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.files import bind_places, release_places
from services.kubelet.container.inputs import ConfigError, ContainerInputs
from services.kubelet.container.plan import container_plan
from services.kubelet.node import beneath, mounts
from services.kubelet.node.mounts import mounts_below
from services.kubelet.node.view import NodeView
from services.kubelet.pod.contents import EmptyDirectory, File, Files, HostDirectory, VolumeError
from services.kubelet.pod.directory import PodDirectory, check_host_path
from services.kubelet.pod.references import References
from services.kubelet.pod.volume_files import write_files
from services.kubelet.runtime.plan import Mount, PodRef
from services.kubelet.runtime.port import Image, Sandbox
from tests.kubelet.support import contents, make_pod

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


def test_no_link_in_a_volume_is_followed(tmp_path: Path) -> None:
    """Whatever a container that could write there once has left: the node's files stay as they are."""
    victim, volume = tmp_path / "victim", tmp_path / "volume"
    victim.mkdir()
    volume.mkdir()
    (victim / "precious").write_text("kept")

    def laid(data: bytes) -> None:
        assert write_files(volume, [File("a", data), File("deep/b", data)])
        assert (volume / "a").read_bytes() == (volume / "deep" / "b").read_bytes() == data
        assert not (volume / "..data").resolve().is_relative_to(victim)
        assert {path.name for path in victim.iterdir()} == {"precious"} and (victim / "precious").read_text() == "kept"

    laid(b"0")
    (volume / "..data").unlink()
    (volume / "..data").symlink_to(victim)
    laid(b"1")
    (volume / "a").unlink()
    (volume / "a").symlink_to(victim / "precious")
    laid(b"2")
    data = volume / (volume / "..data").readlink()
    (data / "deep" / "b").unlink()
    (data / "deep").rmdir()
    (data / "deep").symlink_to(victim)
    (data / "a").unlink()
    (data / "a").symlink_to(victim / "precious")
    laid(b"3")
    (volume / "..data").unlink()
    (volume / "..data").mkdir()
    (volume / "..data_tmp").symlink_to(victim)
    (volume / "..0123").symlink_to(victim)
    laid(b"4")
    (volume / (volume / "..data").readlink()).rename(volume / "mine")
    (volume / (volume / "..data").readlink()).symlink_to(victim)
    laid(b"5")


def test_a_directory_that_is_exchanged_while_files_are_written_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, volume = tmp_path / "victim", tmp_path / "volume"
    victim.mkdir()
    volume.mkdir()
    write_at = beneath.write_at

    def exchanging(directory: int, name: str, *rest: Any) -> None:
        for found in volume.glob("..*"):
            if found.is_dir() and not found.is_symlink():
                found.rename(volume / f"moved{name}")
                found.symlink_to(victim)
        write_at(directory, name, *rest)

    monkeypatch.setattr("services.kubelet.pod.volume_files.write_at", exchanging)
    with contextlib.suppress(OSError):
        write_files(volume, [File(f"k{number}", b"1") for number in range(3)])
    assert not list(victim.iterdir())


def volume(**source: object) -> core.Pod:
    pod = make_pod()
    pod.spec.volumes.add(name="v").volume_source.CopyFrom(core.VolumeSource(**source))  # type: ignore[arg-type]
    return pod


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"secret": core.SecretVolumeSource(secret_name="none")}, 'MountVolume.SetUp failed for volume "v" : secret "none" not found'),
        ({"iscsi": core.ISCSIVolumeSource(iqn="x")}, "this kubelet has none for iscsi"),
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


def keyed(*paths: str) -> core.Pod:
    """A pod with a volume of one key at these paths."""
    items = [{"key": "a", "path": path} for path in paths]
    return volume(config_map=core.ConfigMapVolumeSource(local_object_reference={"name": "c"}, items=items))


@pytest.mark.parametrize("path", [".", "./", "a\0b", "x" * 256, "deep/" + "x" * 256, "/a", "..a"])
def test_a_path_that_is_no_files_says_so(path: str) -> None:
    with pytest.raises(VolumeError, match=r'MountVolume.SetUp failed for volume "v" : invalid path'):
        contents(keyed(path), References({"c": core.ConfigMap(data={"a": "b"})}), NODE)


def test_a_path_may_be_written_in_several_ways(tmp_path: Path) -> None:
    made = contents(keyed("a//b", "./c/./d", "e/", "x" * 255), References({"c": core.ConfigMap(data={"a": "b"})}), NODE)
    PodDirectory(tmp_path, "u").set_up(made)
    root = PodDirectory(tmp_path, "u").volume_path("v")
    assert [(root / path).read_text() for path in ("a/b", "c/d", "e", "x" * 255)] == ["b"] * 4


def test_files_that_are_in_each_others_way_name_their_volume(tmp_path: Path) -> None:
    made = contents(keyed("a", "a/b"), References({"c": core.ConfigMap(data={"a": "b"})}), NODE)
    with pytest.raises(VolumeError, match=r'MountVolume.SetUp failed for volume "v" : .*Not a directory'):
        PodDirectory(tmp_path, "u").set_up(made)


@pytest.mark.parametrize("path", ["relative", "", "/a\0b"])
def test_a_path_of_the_node_is_absolute(path: str) -> None:
    with pytest.raises(VolumeError, match="is not an absolute path"):
        check_host_path(HostDirectory(path))


@pytest.mark.parametrize(
    ("kind", "fits", "words"),
    [
        ("", {"directory", "file", "socket", "pipe", "character", "nothing"}, ""),
        ("Directory", {"directory"}, "a directory"),
        ("DirectoryOrCreate", {"directory", "nothing"}, "a directory"),
        ("File", {"file"}, "a file"),
        ("FileOrCreate", {"file", "nothing"}, "a file"),
        ("Socket", {"socket"}, "a socket file"),
        ("CharDevice", {"character"}, "a character device"),
        ("BlockDevice", {"block"}, "a block device"),
    ],
)
def test_host_path_types(place: Path, kind: str, fits: set[str], words: str) -> None:
    (place / "directory").mkdir()
    (place / "file").touch()
    os.mkfifo(place / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
        for name in ("directory", "file", "socket", "pipe", "character", "nothing"):
            path = Path("/dev/null") if name == "character" else place / name
            if name in fits:
                check_host_path(HostDirectory(str(path), kind))
                continue
            with pytest.raises(VolumeError) as refused:
                check_host_path(HostDirectory(str(path), kind))
            assert str(refused.value) == f"hostPath type check failed: {path} is not {words}"
    assert (place / "nothing").is_dir() is (kind == "DirectoryOrCreate")
    assert (place / "nothing").is_file() is (kind == "FileOrCreate")


@pytest.mark.parametrize(
    ("own", "limits", "whole", "size"),
    [
        ("", ["", ""], "", 4 << 30),
        ("1Gi", ["", ""], "", 1 << 30),
        ("8Gi", ["", ""], "", 4 << 30),
        ("", ["1Gi", "1Gi"], "", 2 << 30),
        ("", ["1Gi", ""], "", 4 << 30),
        ("", ["3Gi", "3Gi"], "", 4 << 30),
        ("256Mi", ["1Gi", "1Gi"], "", 256 << 20),
        ("", ["1Gi", ""], "512Mi", 512 << 20),
    ],
)
def test_what_lies_in_memory_is_no_larger_than_its_pod(own: str, limits: list[str], whole: str, size: int) -> None:
    pod = make_pod("web", "one", "two")
    source = pod.spec.volumes.add(name="v").volume_source.empty_dir
    source.medium = "Memory"
    if own:
        source.size_limit.string = own
    for spec, limit in zip(pod.spec.containers, limits, strict=True):
        if limit:
            spec.resources.limits["memory"].string = limit
    if whole:
        pod.spec.resources.limits["memory"].string = whole
    view = NodeView("node-1", "192.0.2.1", {"cpu": "4", "memory": "4Gi"})
    assert contents(pod, References(), view)["v"] == EmptyDirectory(memory=True, size_bytes=size)


@pytest.fixture(params=["openat2", "step by step"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With openat2(2), and as on a kernel before it."""

    def unknown(*_: object) -> int:
        raise OSError(errno.ENOSYS, "no such call")

    if request.param != "openat2":
        monkeypatch.setattr(beneath, "_openat2", unknown)
    return str(request.param)


def test_a_sub_path_leads_nowhere_but_into_its_volume(tmp_path: Path, kernel: str) -> None:
    volume = tmp_path / "volume"
    (volume / "inside").mkdir(parents=True)
    (volume / "inside" / "file").touch()
    (volume / "alias").symlink_to("inside")
    (volume / "escape").symlink_to("/")
    (volume / "up").symlink_to("../volume/../..")
    (volume / "round").symlink_to("round")
    with beneath.opened(volume) as handle:
        for innocent in ("inside", "alias", "alias/file", ""):
            found = beneath.open_beneath(handle, innocent, os.O_PATH, links=True)
            assert os.path.samestat(os.fstat(found), (volume / innocent).stat())
            os.close(found)
        for evil in ("escape", "escape/etc", "up", "round", "../volume", "inside/../../x", "/etc"):
            with pytest.raises(OSError, match=r"cross-device|Too many levels|symbolic links"):
                beneath.open_beneath(handle, evil, os.O_PATH, links=True)
        with pytest.raises(OSError, match="Invalid argument"):
            beneath.open_beneath(handle, "inside\0/../..", os.O_PATH)
        with pytest.raises(OSError, match="symbolic links"):
            beneath.open_beneath(handle, "alias", os.O_PATH)
        beneath.make_directories_beneath(handle, "alias/not/there", 0o2777)
        assert (volume / "inside" / "not" / "there").stat().st_mode & 0o7777 == 0o2777
        with pytest.raises(OSError, match="cross-device"):
            beneath.make_directories_beneath(handle, f"escape/{tmp_path}/made", 0o777)
        assert not (tmp_path / "made").exists()


def test_a_sub_path_that_leads_out_says_so(tmp_path: Path) -> None:
    (tmp_path / "escape").symlink_to("/")
    wanted = Mount(str(tmp_path / "place"), "/data", volume=str(tmp_path), sub_path="escape")
    with pytest.raises(ConfigError, match="failed to prepare subPath 'escape' for /data: it leads out of the volume"):
        bind_places([wanted])


@pytest.mark.net
def test_the_very_file_is_mounted_whatever_its_name_becomes(tmp_path: Path) -> None:
    volume, outside, directory = tmp_path / "volume", tmp_path / "outside", PodDirectory(tmp_path / "data", "uid")
    (volume / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "precious").touch()
    (volume / "sub" / "mine").touch()
    wanted = [
        Mount(str(directory.sub_path("v", "app", 0)), "/a", volume=str(volume), sub_path="sub"),
        Mount(str(directory.sub_path("v", "app", 1)), "/b", volume=str(volume), sub_path="sub/mine"),
    ]
    directory.make()
    bind_places(wanted)
    try:
        (volume / "sub").rename(volume / "elsewhere")
        (volume / "sub").symlink_to(outside)
        assert [path.name for path in Path(wanted[0].source).iterdir()] == ["mine"]
        assert Path(wanted[1].source).is_file()
    finally:
        # As the next kubelet does for one that was killed: the pod's end unmounts, and deletes nothing of what was mounted.
        directory.remove()
    assert not directory.root.exists() and (volume / "elsewhere" / "mine").exists() and (outside / "precious").exists()
    directory.make()
    (volume / "sub").unlink()
    (volume / "sub").touch()
    bind_places(wanted[:1])
    assert Path(wanted[0].source).is_file()
    release_places(wanted[:1])
    assert not mounts_below(tmp_path)
    directory.remove()


@pytest.mark.net
def test_a_directory_that_is_still_mounted_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = PodDirectory(tmp_path / "dåta dir", "uid")
    outside = tmp_path / "outside"
    (outside / "precious").mkdir(parents=True)
    wanted = [Mount(str(directory.sub_path("v", "app", 0)), "/a", volume=str(outside), sub_path="precious")]
    directory.make()
    bind_places(wanted)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(mounts, "MNT_DETACH", 1 << 20)
            with pytest.raises(OSError, match="Invalid argument"):
                directory.remove()
        assert directory.root.exists()
        assert mounts_below(directory.root) == {wanted[0].source}
    finally:
        directory.remove()
    assert not directory.root.exists() and (outside / "precious").exists()


@pytest.fixture
def closed_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("closed_umask")
def test_modes_are_what_was_meant_whatever_the_umask(tmp_path: Path) -> None:
    directory = PodDirectory(tmp_path / "data", "uid")
    made = tmp_path / "made" / "deep"
    directory.set_up(
        {"c": Files((File("deep/a", b"1", 0o644),)), "e": EmptyDirectory(), "h": HostDirectory(str(made), "DirectoryOrCreate")},
    )
    directory.write(directory.hosts, "127.0.0.1 localhost")
    check_host_path(HostDirectory(str(tmp_path / "file"), "FileOrCreate"))
    volume = directory.volume_path("c")
    found = {
        path: path.stat().st_mode & 0o7777
        for path in (directory.root.parent, directory.root, volume, volume / "..data" / "deep", volume / "deep" / "a", directory.hosts)
    }
    assert list(found.values()) == [0o750, 0o750, 0o755, 0o755, 0o644, 0o644]
    others = (directory.volume_path("e"), made.parent, made, tmp_path / "file")
    assert [path.stat().st_mode & 0o777 for path in others] == [0o777, 0o755, 0o755, 0o644]


@pytest.mark.net
@pytest.mark.parametrize("data_dir", ["real", "link"])
def test_secrets_are_on_no_disk(tmp_path: Path, data_dir: str) -> None:
    """Also where the kubelet is told its directory by a link: the kernel tells mounts without."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    directory = PodDirectory(tmp_path / data_dir, "uid")
    for _ in range(2):
        directory.set_up({"s": Files((File("a", b"1", 0o644),), secret=True), "c": Files((File("a", b"1"),))})
        assert mounts_below(tmp_path) == {str(directory.volume_path("s").resolve())}
    assert (directory.volume_path("s") / "a").read_bytes() == b"1"
    directory.remove()
    assert not directory.root.exists() and not mounts_below(tmp_path)


def test_a_kubelet_that_may_not_mount_keeps_secrets_in_its_closed_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr("services.kubelet.pod.directory.mount_tmpfs", refused)
    directory = PodDirectory(tmp_path, "uid")
    directory.set_up({"s": Files((File("a", b"1", 0o644),), secret=True)})
    assert (directory.volume_path("s") / "a").read_bytes() == b"1"
    assert directory.root.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("sub_path", ["../other", "a/../../b", "/etc", "$(WHERE)", "a\0b"])
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
        place = str(PodDirectory(tmp_path, "uid").sub_path("data", "app", 0))
        assert mounted("in/here") == [Mount(place, "/data", volume="/srv", sub_path="in/here")]


@pytest.mark.parametrize(
    ("expression", "words"),
    [("$(NOPE)", "missing value for NOPE"), ("a/$(EMPTY)/$(NOPE)", "missing value for EMPTY, NOPE"), ("a/$$(NOPE)/$$", "")],
)
def test_a_sub_path_of_what_is_not_there_is_not_the_whole_volume(tmp_path: Path, expression: str, words: str) -> None:
    pod = make_pod()
    pod.spec.volumes.add(name="data").volume_source.host_path.path = "/srv"
    spec = pod.spec.containers[0]
    spec.volume_mounts.add(name="data", mount_path="/data", sub_path_expr=expression)
    spec.env.add(name="EMPTY", value="")
    sandbox = Sandbox("s", PodRef("default", "web", "uid"), 0, True)
    inputs = ContainerInputs(pod, spec, 0, sandbox, Image("i", "app:1"), References(), NODE, PodDirectory(tmp_path, "uid"))
    if words:
        with pytest.raises(ConfigError, match=words):
            container_plan(inputs)
    else:
        assert "a/$(NOPE)/$" in [mount.sub_path for mount in container_plan(inputs).mounts]


def test_an_item_has_its_own_path_and_mode_or_the_volumes() -> None:
    pod = make_pod()
    source = pod.spec.volumes.add(name="config").volume_source.config_map
    source.local_object_reference.name, source.default_mode = "settings", 0o640
    source.items.add(key="own", path="deep/own", mode=0o600)
    source.items.add(key="plain", path="plain")
    found = core.ConfigMap(data={"own": "1", "plain": "2", "left-out": "3"})
    content = contents(pod, References(config_maps={"settings": found}), NODE, "10.0.0.1")["config"]
    assert content.files == (File("deep/own", b"1", 0o600), File("plain", b"2", 0o640))  # type: ignore[union-attr]
