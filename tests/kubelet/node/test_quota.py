"""A folder of a volume is held to its size where its file system can: a btrfs with its quotas on; elsewhere it is a plain one."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.node.folders import limit_folder, remove_folder
from services.kubelet.pod.directory import make_folder
from tests.kubelet.pod.claims import bound, folder, hollow, using
from tests.support.virtual_time import virtual_time

MIB = 1024 * 1024


def command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own in a file. Only where there is none of the kind its tests are left out."""
    subprocess.run(["sh", "-c", "modprobe --quiet btrfs"], capture_output=True, check=False)
    if "btrfs" not in Path("/proc/filesystems").read_text().split():
        pytest.skip("this kernel has no btrfs")
    image, place = tmp_path / "disk", tmp_path / "btrfs"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(256 * MIB)
    command("mkfs.btrfs", "--quiet", str(image))
    command("mount", "-o", "loop", str(image), str(place))
    try:
        yield place
    finally:
        command("umount", str(place))


def fill(path: Path, size_bytes: int) -> int:
    """Writes as much; answers what there was room for."""
    with path.open("wb", buffering=0) as file:
        try:
            for _ in range(size_bytes // MIB):
                file.write(os.urandom(MIB))
                os.fsync(file.fileno())
        except OSError as error:
            assert error.errno == errno.EDQUOT
        return file.tell()


def limits(place: Path) -> list[int]:
    """Those of the subvolumes that have one."""
    rows = command("btrfs", "qgroup", "show", "-r", "--raw", str(place)).splitlines()[2:]
    return [int(row.split()[3]) for row in rows if row.split()[3] != "none"]


@pytest.mark.net
def test_a_folder_takes_no_more_than_its_size_until_it_grows(btrfs: Path) -> None:
    command("btrfs", "quota", "enable", str(btrfs))
    root = btrfs / "local-path"
    for name in ("pvc-1", "pvc-2"):
        make_folder(root / name, 8 * MIB)
    # Once more is the same.
    make_folder(root / "pvc-1", 8 * MIB)
    assert fill(root / "pvc-1" / "rows", 32 * MIB) < 8 * MIB
    # Its neighbour has room of its own.
    assert fill(root / "pvc-2" / "rows", 4 * MIB) == 4 * MIB
    assert limit_folder(root, "pvc-1", 24 * MIB)
    (root / "pvc-1" / "rows").unlink()
    command("sync", "--file-system", str(btrfs))
    assert 8 * MIB < fill(root / "pvc-1" / "rows", 48 * MIB) < 24 * MIB
    assert remove_folder(root, "pvc-1") and [path.name for path in root.iterdir()] == ["pvc-2"]


@pytest.mark.net
def test_quotas_that_are_off_stay_off_and_hold_nothing(btrfs: Path) -> None:
    root = btrfs / "local-path"
    make_folder(root / "pvc-1", 8 * MIB)
    assert not limit_folder(root, "pvc-1", 8 * MIB)
    assert fill(root / "pvc-1" / "rows", 16 * MIB) == 16 * MIB


@pytest.mark.net
def test_a_plain_folder_of_before_is_not_limited_with_all_around_it(btrfs: Path) -> None:
    command("btrfs", "quota", "enable", str(btrfs))
    root = btrfs / "local-path"
    (root / "pvc-1").mkdir(parents=True)
    make_folder(root / "pvc-1", 8 * MIB)
    assert not limit_folder(root, "pvc-1", 8 * MIB)
    assert fill(btrfs / "other", 16 * MIB) == 16 * MIB


def test_elsewhere_it_is_a_plain_folder(tmp_path: Path) -> None:
    root = tmp_path / "local-path"
    make_folder(root / "pvc-1", 1024)
    assert not limit_folder(root, "pvc-1", 1024) and not limit_folder(root, "pvc-2", 1024)
    assert (root / "pvc-1").stat().st_mode & 0o7777 == 0o777
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="link"):
        limit_folder(root, "link", 1024)


@pytest.mark.net
@virtual_time
async def test_a_volume_that_grows_has_more_room_while_it_is_used(btrfs: Path) -> None:
    command("btrfs", "quota", "enable", str(btrfs))
    async with hollow(btrfs) as c:
        made = folder(str(btrfs / "local-path"))
        made.spec.capacity["storage"].string = "8Mi"
        await c.client.create(using())
        c.api.seed(bound(volume="pvc-1"), made)
        await c.ready()
        assert limits(btrfs) == [8 * MIB]
        rows = btrfs / "local-path" / "pvc-1" / "rows"
        assert fill(rows, 32 * MIB) < 8 * MIB
        volume = await c.client.get(core.PersistentVolume, "pvc-1")
        volume.spec.capacity["storage"].string = "16Mi"
        await c.client.update(volume)
        await c.until(lambda: limits(btrfs) == [16 * MIB])
        rows.unlink()
        command("sync", "--file-system", str(btrfs))
        assert fill(rows, 12 * MIB) == 12 * MIB
