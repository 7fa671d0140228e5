"""Images as volumes: what an archive may lay, when an image is fetched, shown and given up."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import ClassVar

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container import files
from services.kubelet.node.files import NodeFiles
from services.kubelet.node.image_folders import ImageFolders, _lay
from services.kubelet.node.mounts import mount_read_only, mounts_below, unmount_all
from services.kubelet.node.trees import remove_tree
from services.kubelet.node.unpack import unpack
from services.kubelet.pod.disk_usage import used
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.plan import ContainerPlan, Mount
from services.kubelet.runtime.port import Container, Filesystem, Image, RuntimeFailure
from tests.kubelet.csi.driver_world import needs_mounts
from tests.kubelet.support import make_pod, running

CIDR = "10.244.0.0/24"


def archive(*entries: tuple[str, bytes, dict[str, object]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, data, fields in entries:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid = len(data), 0o644, os.getuid(), os.getgid()
            for key, value in fields.items():
                setattr(entry, key, value)
            made.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def link(target: str) -> dict[str, object]:
    return {"type": tarfile.SYMTYPE, "linkname": target}


FOLDER: dict[str, object] = {"type": tarfile.DIRTYPE, "mode": 0o555}
PLAIN = archive(
    ("./usr/", b"", FOLDER),
    ("usr/bin/tool", b"tool", {"mode": 0o4755, "mtime": 1000}),
    ("bin", b"", link("usr/bin")),
    ("same", b"", {"type": tarfile.LNKTYPE, "linkname": "usr/bin/tool"}),
    ("dev/null", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
    ("etc/file", b"one", {}),
    ("etc/file", b"two", {"mode": 0o600}),
)


def test_an_image_is_laid_as_its_archive_says(tmp_path: Path) -> None:
    unpack(io.BytesIO(PLAIN), tmp_path)
    tool = tmp_path / "usr" / "bin" / "tool"
    assert (tool.read_bytes(), tool.stat().st_mode & 0o7777, tool.stat().st_mtime) == (b"tool", 0o4755, 1000)
    assert (tmp_path / "usr").stat().st_mode & 0o777 == 0o555
    assert (tmp_path / "bin").readlink() == Path("usr/bin") and (tmp_path / "same").samefile(tool)
    assert (tmp_path / "etc" / "file").read_bytes() == b"two" and (tmp_path / "etc" / "file").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "dev" / "null").exists()


@pytest.mark.parametrize(
    "entries",
    [
        (("../victim/x", b"bad", {}),),
        (("out", b"", link("../victim")), ("out/x", b"bad", {})),
        (("out", b"", link("/")), ("out/x/y", b"bad", {})),
        (("file", b"", {"type": tarfile.LNKTYPE, "linkname": "../victim/precious"}),),
        (("out", b"", link("../victim")), ("file", b"", {"type": tarfile.LNKTYPE, "linkname": "out/precious"})),
        (("out", b"", link("../victim")), ("out", b"", FOLDER)),
        (("..", b"bad", {}),),
        (("etc/../..", b"", link("victim")),),
        (("..", b"", {"type": tarfile.LNKTYPE, "linkname": "file"}),),
    ],
    ids=[
        "up",
        "by a link",
        "by the root",
        "a hard link",
        "a hard link by a link",
        "a folder that is a link",
        "a file in place of what is above",
        "a link in place of what is above",
        "a hard link in place of what is above",
    ],
)
def test_an_archive_lays_nothing_elsewhere(tmp_path: Path, entries: tuple[tuple[str, bytes, dict[str, object]], ...]) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.mkdir(mode=0o700)
    folder.mkdir()
    (victim / "precious").write_text("kept")
    with pytest.raises(OSError, match=r"\w"):
        unpack(io.BytesIO(archive(*entries)), folder)
    assert [path.name for path in victim.iterdir()] == ["precious"] and victim.stat().st_mode & 0o777 == 0o700
    assert not (folder / "file").exists()


@pytest.mark.parametrize(
    "told",
    [{"mtime": "nan"}, {"mtime": "inf"}, {"mtime": "9" * 30}, {"uid": "9" * 30}, {"path": "a\0b"}, {"linkpath": "a\0b"}],
    ids=["no time", "never", "too late", "nobody", "no name", "no target"],
)
def test_what_no_disk_can_hold_is_an_error_like_any_other(tmp_path: Path, told: dict[str, str]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as made:
        entry = tarfile.TarInfo("file")
        entry.pax_headers = told
        if "linkpath" in told:
            entry.type = tarfile.SYMTYPE
        made.addfile(entry)
    with pytest.raises(OSError, match="the engine's archive of the image cannot be read"):
        unpack(io.BytesIO(buffer.getvalue()), tmp_path)


def test_folders_that_are_not_named_are_made_however_deep(tmp_path: Path) -> None:
    unpack(io.BytesIO(archive(("a/" * 1500 + "file", b"x", {}))), tmp_path)
    assert used(tmp_path)[1] == 1501
    remove_tree(tmp_path / "a")


def test_half_an_image_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    half = archive(("file", b"x", {}), ("../out", b"x", {}))
    with pytest.raises(OSError, match="cross-device"):
        _lay(io.BytesIO(half), tmp_path / "root" / ".image", tmp_path / "root" / "image")
    assert not list((tmp_path / "root").iterdir())


def test_what_is_no_archive_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the engine's archive of the image cannot be read"):
        unpack(io.BytesIO(b"\0" * 100 + b"x" * 2000), tmp_path)


class Exporting(HollowRuntime):
    """One whose containers see files, and whose images are known; a word in ``trouble_of_export`` is why one cannot be shown."""

    mounts_files: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(CIDR)
        self.exported: list[str] = []
        self.plans: list[ContainerPlan] = []
        self.trouble_of_export = ""

    async def export(self, image: Image) -> AsyncIterator[bytes]:
        self.exported.append(image.reference)
        yield PLAIN[:700]
        if self.trouble_of_export:
            raise RuntimeFailure(self.trouble_of_export)
        yield PLAIN[700:]

    async def create_container(self, plan: ContainerPlan) -> Container:
        self.plans.append(plan)
        return await super().create_container(plan)


def showing(name: str, *, mounted: bool = True, reference: str = "data:1", policy: str = "IfNotPresent") -> core.Pod:
    pod = make_pod(name)
    pod.spec.volumes.add(name="data").volume_source.image.MergeFrom(core.ImageVolumeSource(reference=reference, pull_policy=policy))
    if mounted:
        pod.spec.containers[0].volume_mounts.add(name="data", mount_path="/data")
    return pod


@needs_mounts
def test_an_overlay_of_more_folders_than_the_kernel_takes_the_paths_of_is_mounted(tmp_path: Path) -> None:
    """An image may have 127 layers, and their paths are longer than a page."""
    layers = []
    for number in range(127):
        layers.append(tmp_path / f"a-layer-of-an-image-{number}" / "fs")
        layers[-1].mkdir(parents=True)
        (layers[-1] / str(number)).touch()
        (layers[-1] / "same").write_text(str(number))
    place, options = tmp_path / "place", ("index=off", f"lowerdir={':'.join(map(str, layers))}")
    place.mkdir()
    assert len(",".join(options)) > 8000
    mount_read_only("overlay", "overlay", options, place)
    try:
        assert len(list(place.iterdir())) == 128 and (place / "same").read_text() == "0"
        with pytest.raises(OSError, match="Read-only file system"):
            (place / "x").touch()
        assert os.statvfs(place).f_flag & (os.ST_NODEV | os.ST_NOSUID) == os.ST_NODEV | os.ST_NOSUID
    finally:
        unmount_all(place)
    place.rmdir()


class Showing(HollowRuntime):
    """One that shows images where they lie, in ``source``."""

    mounts_files: ClassVar[bool] = True

    def __init__(self, source: Path) -> None:
        super().__init__(CIDR)
        self.source, self.shown = source, set[str]()

    async def show_image(self, image: Image, name: str) -> Filesystem | None:
        self.shown.add(name)
        return Filesystem("bind", str(self.source), ("ro", "rbind"))

    async def hide_images(self, keep: Collection[str]) -> list[str]:
        left = [name for name in self.shown if name not in keep]
        self.shown.intersection_update(keep)
        return left


@needs_mounts
async def test_what_a_runtime_shows_is_mounted_once_and_anew_where_it_is_mounted_no_more(tmp_path: Path) -> None:
    source, pods = tmp_path / "source", tmp_path / "pods"
    (source / "folder").mkdir(parents=True)
    (source / "folder" / "file").write_text("one")
    runtime = Showing(source)
    folders, image = ImageFolders(tmp_path, pods, runtime, NodeFiles()), await runtime.image("data:1")
    try:
        place = await folders.lay(image, pods / "uid")
        assert await folders.lay(image, pods / "other") == place and len(mounts_below(place)) == 1
        assert (place / "folder" / "file").read_text() == "one" and os.statvfs(place).f_flag & os.ST_RDONLY
        # As the machine that started anew leaves it, and a kubelet that was cut off before it mounted.
        unmount_all(place)
        await folders.lay(image, pods / "uid")
        assert (place / "folder" / "file").exists()
        remove_tree(pods / "uid")
        await folders.sweep()
        assert place.exists() and runtime.shown == {place.name}
        remove_tree(pods / "other")
        await folders.sweep()
        assert not place.exists() and not runtime.shown and (source / "folder" / "file").exists()
    finally:
        unmount_all(tmp_path)


@needs_mounts
async def test_an_empty_image_is_mounted_once(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    runtime = Showing(tmp_path / "source")
    folders, image = ImageFolders(tmp_path, tmp_path / "pods", runtime, NodeFiles()), await runtime.image("data:1")
    try:
        await folders.lay(image, tmp_path / "pods" / "uid")
        place = await folders.lay(image, tmp_path / "pods" / "uid")
        assert (await asyncio.to_thread(Path("/proc/self/mounts").read_text)).count(str(place)) == 1
    finally:
        unmount_all(tmp_path)


async def test_what_cannot_be_mounted_is_not_taken_for_an_image(tmp_path: Path) -> None:
    runtime = Showing(tmp_path / "nowhere")
    folders, image = ImageFolders(tmp_path, tmp_path / "pods", runtime, NodeFiles()), await runtime.image("data:1")
    for _ in range(2):
        with pytest.raises(OSError, match="nowhere"):
            await folders.lay(image, tmp_path / "pods" / "uid")
    assert len(runtime.shown) == 1
    remove_tree(tmp_path / "pods")
    await folders.sweep()
    assert not runtime.shown and not list((tmp_path / "image-volumes").iterdir())


@pytest.fixture
def no_mounts(monkeypatch: pytest.MonkeyPatch) -> list[Mount]:
    """What would be mounted for containers, by a kubelet that may."""
    asked: list[Mount] = []
    monkeypatch.setattr("services.kubelet.container.starter.bind_places", asked.extend)
    monkeypatch.setattr("services.kubelet.container.starter.check_places_are_seen", lambda: None)
    monkeypatch.setattr("services.kubelet.container.starter.release_places", lambda mounts: None)
    return asked


async def test_an_image_is_laid_once_and_goes_with_its_last_pod(tmp_path: Path, no_mounts: list[Mount]) -> None:
    runtime = Exporting()
    async with running(runtime, tmp_path) as cluster:
        for name in ("first", "second"):
            await cluster.client.create(showing(name))
            await cluster.ready(name)
        assert runtime.exported == ["data:1"]
        (laid,) = (tmp_path / "image-volumes").iterdir()
        assert (laid / "usr" / "bin" / "tool").read_bytes() == b"tool" and laid.parent.stat().st_mode & 0o777 == 0o700
        assert [(mount.volume, mount.attributes, mount.complete) for mount in no_mounts] == [(str(laid), ("ro", "noexec"), True)] * 2
        (told,) = (await cluster.ready("second")).status.container_statuses[0].volume_mounts
        assert (told.name, told.volume_status.image.image_ref) == ("data", (await runtime.image("data:1")).id)
        await cluster.client.delete(core.Pod, "first", "default")
        await cluster.until(lambda: len(cluster.kubelet.manager.workers) == 1)
        assert laid.exists()
    async with running(runtime, tmp_path, cluster.api) as cluster:
        await cluster.client.delete(core.Pod, "second", "default")
        await cluster.until(lambda: not cluster.kubelet.manager.workers)
        assert not list((tmp_path / "image-volumes").iterdir())


async def test_a_kubelet_that_comes_anew_removes_what_nobody_has(tmp_path: Path, no_mounts: list[Mount]) -> None:
    for name in ("old", ".half"):
        (tmp_path / "image-volumes" / name).mkdir(parents=True)
    async with running(Exporting(), tmp_path) as cluster:
        await cluster.until(lambda: not list((tmp_path / "image-volumes").iterdir()))


@pytest.mark.usefixtures("no_mounts")
@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (
            showing("web", reference="missing:1", policy="Never"),
            "ErrImageNeverPull",
            'Container image "missing:1" is not present with pull policy of Never',
        ),
        (showing("web", reference="missing:1"), "ErrImagePull", "manifest unknown"),
        (showing("web", reference="A!"), "InvalidImageName", "couldn't parse image name"),
    ],
    ids=["never", "not there", "no name"],
)
async def test_a_container_waits_for_the_image_of_its_volume(tmp_path: Path, pod: core.Pod, reason: str, words: str) -> None:
    runtime = Exporting()
    runtime.missing_images.add("missing:1")
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(pod)
        await cluster.until(lambda: any(reason == found.reason and words in found.message for found in waits(cluster.pod())))
        assert not runtime.plans


async def test_an_image_that_cannot_be_shown_is_told_and_tried_again(tmp_path: Path, no_mounts: list[Mount]) -> None:
    runtime = Exporting()
    runtime.trouble_of_export = "disk full"
    folders = ImageFolders(tmp_path, tmp_path / "pods", runtime, NodeFiles())
    image = await runtime.image("data:1")
    with pytest.raises(RuntimeFailure, match="disk full"):
        await folders.lay(image, tmp_path / "pods" / "uid")
    runtime.trouble_of_export = ""
    assert (await folders.lay(image, tmp_path / "pods" / "uid") / "bin").is_symlink()
    runtime.trouble_of_export = "disk full"
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(showing("web", reference="other:1"))
        await cluster.until(lambda: [found.message for found in waits(cluster.pod())] == ['failed to mount image volume "data": disk full'])
        assert waits(cluster.pod())[0].reason == "CreateContainerError"


async def test_an_image_that_nobody_mounts_is_not_fetched(tmp_path: Path, no_mounts: list[Mount]) -> None:
    runtime = Exporting()
    async with running(runtime, tmp_path) as cluster:
        await cluster.client.create(showing("web", mounted=False))
        await cluster.ready()
        assert not runtime.exported


def waits(pod: core.Pod | None) -> list[core.ContainerStateWaiting]:
    statuses = pod.status.container_statuses if pod is not None else ()
    return [status.state.waiting for status in statuses if status.state.HasField("waiting")]


async def test_what_the_engine_would_not_see_is_not_mounted(
    tmp_path: Path, no_mounts: list[Mount], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its container would be shown an empty folder, which it may write to."""
    monkeypatch.setattr("services.kubelet.container.files.are_private", lambda: True)
    monkeypatch.setattr("services.kubelet.container.starter.check_places_are_seen", files.check_places_are_seen)
    async with running(Exporting(), tmp_path) as cluster:
        await cluster.client.create(showing("web"))
        await cluster.until(lambda: any("with --mounts-of" in found.message for found in waits(cluster.pod())))
        assert waits(cluster.pod())[0].reason == "CreateContainerConfigError" and not no_mounts
