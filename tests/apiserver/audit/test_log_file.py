"""The log's file: whole lines, begun anew, former ones compressed and removed, a disk that is full."""

from __future__ import annotations

import errno
import gzip
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.apiserver.audit.log_file import MEGABYTE, Keeping, LogFile

LINE = b"x" * (MEGABYTE // 2 - 1) + b"\n"


class Clock:
    """A second later each time that it is looked at: when a file is begun, and when former ones are sorted out."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 29, 6, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def former(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.name != "audit.log")


def test_the_file_is_its_owners_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.log"
    for line in (b"one\n", b"two\n"):
        log = LogFile(path, Keeping())
        log.write(line)
        log.close()
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_that_a_killed_server_left_unended_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(b'{"half')
    log = LogFile(path, Keeping())
    log.write(b"one\n")
    log.close()
    assert path.read_bytes() == b'{"half\none\n'


def test_it_is_begun_anew_before_it_is_too_large_and_so_many_are_kept(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "audit.log", Keeping(megabytes=1, files=2), Clock())
    for _ in range(8):
        log.write(LINE)
    log.close()
    assert (tmp_path / "audit.log").stat().st_size == MEGABYTE
    assert former(tmp_path) == ["audit-2026-11-29T06-00-04.000.log", "audit-2026-11-29T06-00-06.000.log"]


def test_former_ones_are_compressed(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "audit.log", Keeping(megabytes=1, compress=True), Clock())
    for _ in range(3):
        log.write(LINE)
    log.close()
    (name,) = former(tmp_path)
    assert name == "audit-2026-11-29T06-00-02.000.log.gz"
    assert gzip.decompress((tmp_path / name).read_bytes()) == 2 * LINE
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_former_ones_are_removed_when_they_are_old_and_nobody_elses_are(tmp_path: Path) -> None:
    for name in ("audit-2026-11-01T00-00-00.000.log", "audit-2026-11-28T00-00-00.000.log.gz", "audit-notes.log", "audit-x.log.gz.part"):
        (tmp_path / name).write_bytes(b"")
    log = LogFile(tmp_path / "audit.log", Keeping(days=7), Clock())
    log.write(b"one\n")
    log.close()
    assert former(tmp_path) == ["audit-2026-11-28T00-00-00.000.log.gz", "audit-notes.log", "audit-x.log.gz.part"]


def test_a_file_that_somebody_moves_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = LogFile(path, Keeping())
    log.write(b"one\n")
    path.rename(tmp_path / "elsewhere")
    log.write(b"two\n")
    log.close()
    assert path.read_bytes() == b"two\n"


def test_on_a_full_disk_it_fails_and_goes_on_with_a_line_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real, room = tmp_path / "audit.log", os.write, [3]

    def write(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(descriptor, bytes(data)[: room[0]])
        room[0] -= written
        return written

    log = LogFile(path, Keeping())
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        log.write(b"lost line\n")
    with pytest.raises(OSError, match="No space"):
        log.write(b"lost too\n")
    room[0] = 100
    log.write(b"kept\n")
    log.write(b"kept too\n")
    log.close()
    assert path.read_bytes() == b"los\nkept\nkept too\n"
