"""Looking through and removing what containers made, however deep and wide."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.kubelet.node import trees
from services.kubelet.node.beneath import remove_at
from services.kubelet.node.trees import LEVELS, remove_tree, walk
from services.kubelet.pod.disk_usage import exceeds, used
from services.kubelet.pod.ownership import give_to_group

# More than a function may call itself, and than a path may say.
DEPTH = 1500


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """Folders in folders, with a file of 1 MiB in the last one and a folder beside each."""
    root = tmp_path / "deep"
    root.mkdir()
    handle = os.open(root, trees.FOLDER)
    for _ in range(DEPTH):
        os.mkdir("beside", dir_fd=handle)
        os.mkdir("in", dir_fd=handle)
        inner = os.open("in", trees.FOLDER, dir_fd=handle)
        os.close(handle)
        handle = inner
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=handle)
    os.write(file, b"x" * (1 << 20))
    os.close(file)
    os.close(handle)
    return root


def handles() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@contextmanager
def nothing_left_open() -> Iterator[None]:
    before = handles()
    yield
    assert handles() == before


def test_what_lies_deep_is_measured_given_and_removed(deep: Path) -> None:
    with nothing_left_open():
        size, count = used(deep)
        assert count == 2 * DEPTH + 1
        assert size >= 1 << 20
        assert exceeds(deep, (1 << 20) - 1)
        if os.geteuid() == 0:
            give_to_group(deep, 4711)
            handle = os.open(deep, trees.FOLDER)
            assert {found.st_gid for _, _, found in walk(handle)} == {4711}
            os.close(handle)
        directory = os.open(deep.parent, trees.FOLDER)
        assert remove_at(directory, "deep")
        os.close(directory)
    assert not deep.exists()


def test_few_handles_are_held(deep: Path) -> None:
    handle = os.open(deep, trees.FOLDER)
    before, most = len(handles()), 0
    for at, _ in enumerate(walk(handle)):
        if at % 100 == 0:
            most = max(most, len(handles()) - before)
    os.close(handle)
    assert most <= LEVELS + 2
    remove_tree(deep)


def test_a_folder_that_moves_while_it_is_looked_at_leads_nowhere_else(deep: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    handle = os.open(deep, trees.FOLDER)
    names, moved = set(), False
    for at, (folder, name, _) in enumerate(walk(handle)):
        names.add(name)
        if at > 4 * LEVELS and name == "in" and not moved:
            above = os.open("../..", trees.FOLDER, dir_fd=folder)
            os.rename("in", "moved", src_dir_fd=above, dst_dir_fd=handle)
            os.close(above)
            moved = True
    os.close(handle)
    assert moved
    assert names == {"in", "beside", "file"}
    remove_tree(deep)


def test_a_folder_is_removed_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "BATCH", 7)
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "inner").mkdir(parents=True)
    outside.mkdir()
    (outside / "kept").touch()
    for number in range(50):
        (root / str(number)).touch()
        (root / "inner" / str(number)).mkdir()
    (root / "link").symlink_to(outside)
    os.mkfifo(root / "pipe")
    remove_tree(root)
    assert not root.exists()
    assert (outside / "kept").exists()


def test_what_cannot_be_removed_stays_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / "file").touch()
    unlink = os.unlink

    def stubborn(name: str, *, dir_fd: int) -> None:
        if Path(f"/proc/self/fd/{dir_fd}").readlink().name == "b":
            raise PermissionError(1, "Operation not permitted", name)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", stubborn)
    with pytest.raises(PermissionError):
        remove_tree(tmp_path / "root")
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["b"]


def test_a_link_is_no_folder_to_remove(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to("outside")
    with pytest.raises(NotADirectoryError):
        remove_tree(tmp_path / "link")
    assert (tmp_path / "outside").exists()


@pytest.mark.parametrize("name", [".", "..", "", "../x", "a/b"])
def test_only_what_is_in_a_folder_is_removed_from_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "x").touch()
    handle = os.open(tmp_path / "folder", trees.FOLDER)
    with pytest.raises(OSError):
        remove_at(handle, name)
    os.close(handle)
    assert (tmp_path / "x").exists()
