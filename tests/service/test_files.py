"""Files that appear whole, with the mode that was meant."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.service.files import PRIVATE, PUBLIC, on_disk, sweep, write_whole


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_the_mode_is_the_one_that_was_meant(tmp_path: Path) -> None:
    for name, meant in (("secret", PRIVATE), ("certificate", PUBLIC)):
        write_whole(tmp_path / name, b"x", mode=meant)
        assert mode(tmp_path / name) == meant


def test_a_file_that_lay_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"x")
    (tmp_path / "token").chmod(0o644)
    write_whole(tmp_path / "token", b"x", mode=PRIVATE)
    assert mode(tmp_path / "token") == PRIVATE


def test_who_reads_while_it_is_written_finds_the_whole_of_before(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    write_whole(path, b"before", mode=PRIVATE)
    with path.open("rb") as reader:
        write_whole(path, b"after", mode=PRIVATE)
        assert reader.read() == b"before"
    assert path.read_bytes() == b"after"


def test_what_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "settings"
    write_whole(path, b"before", mode=PRIVATE)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"after", mode=PRIVATE)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("settings", b"before")]


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    write_whole(path, b"same", mode=PRIVATE)
    before = path.stat().st_ino
    write_whole(path, b"same", mode=PRIVATE)
    assert path.stat().st_ino == before


def test_what_a_killed_write_left_is_swept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("token", ".hidden", ".profile.bak", ".0123abcd"):
        write_whole(tmp_path / name, b"x", mode=PRIVATE)
    with monkeypatch.context() as patch:
        # As if it were killed before the rename: nothing is tidied up.
        patch.setattr(Path, "replace", lambda *_: None)
        write_whole(tmp_path / "token", b"y", mode=PRIVATE)
    assert len(list(tmp_path.iterdir())) == 5
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"token", ".hidden", ".profile.bak", ".0123abcd"}
    assert (tmp_path / "token").read_bytes() == b"x"


def test_what_ends_with_its_process_need_not_be_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brought: list[int] = []
    monkeypatch.setattr("os.fsync", brought.append)
    before = on_disk.set(False)
    try:
        write_whole(tmp_path / "a", b"1", mode=PRIVATE)
    finally:
        on_disk.reset(before)
    assert ((tmp_path / "a").read_bytes(), brought) == (b"1", [])
    write_whole(tmp_path / "a", b"2", mode=PRIVATE)
    assert len(brought) == 1
