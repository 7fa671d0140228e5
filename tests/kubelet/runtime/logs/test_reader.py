"""A reader of a log's files whom rotation takes nothing from, in both formats."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from services.kubelet.runtime.logs import reader as reader_module
from services.kubelet.runtime.logs.entries import Entry, Joiner
from services.kubelet.runtime.logs.files import LogFiles, OpenLog, open_log
from services.kubelet.runtime.logs.reader import LogReader
from tests.kubelet.runtime.logs.log_engines import ENGINES, LineEngine, LogEngine, RecordEngine


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogEngine]:
    with closing(ENGINES[request.param](tmp_path)) as made:
        yield made


def reader_of(engine: LogEngine, tail_lines: int | None = None) -> closing[LogReader]:
    made = LogReader(engine.files)
    made.begin(tail_lines)
    return closing(made)


def read_all(reader: LogReader) -> bytes:
    found: list[Entry] = []
    while (entries := reader.read()) is not None:
        found += entries
    return Joiner(stamps=False).join(found)


def told(*numbers: int) -> bytes:
    return b"".join(b"%d\n" % number for number in numbers)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_reader_loses_nothing_to_rotation(engine: LogEngine) -> None:
    engine.write("1")
    with reader_of(engine) as reader:
        assert read_all(reader) == told(1)
        engine.write("2")
        # The engine writes to what it has open until it knows better.
        engine.rotate(last="3")
        engine.write("4")
        engine.rotate()
        fifth = engine.bytes_of(b"5")
        engine.write_bytes(fifth[:-4])
        assert read_all(reader) == told(2, 3, 4)
        engine.write_bytes(fifth[-4:])
        assert read_all(reader) == told(5)
    with reader_of(engine) as reader:
        assert read_all(reader) == told(1, 2, 3, 4, 5)


@pytest.mark.parametrize("tail_lines", [None, 2])
def test_who_does_not_follow_reads_to_where_the_log_ended(engine: LogEngine, tail_lines: int | None) -> None:
    """However fast it is written: each look would show more of it."""
    for number in (1, 2):
        engine.write(str(number))
        engine.rotate()
    engine.write("3")
    with closing(LogReader(engine.files)) as reader:
        reader.begin(tail_lines, follow=False)
        engine.write("4")
        engine.rotate()
        engine.write("5")
        assert read_all(reader) == (told(2, 3) if tail_lines else told(1, 2, 3))


def test_what_is_held_is_read_though_it_was_removed(engine: LogEngine, caplog: pytest.LogCaptureFixture) -> None:
    engine.write("1")
    with reader_of(engine) as reader:
        for number in range(2, 12):
            engine.rotate()
            engine.write(str(number))
            if number % 2:
                reader.hold()
        assert read_all(reader) == told(*range(1, 12))
    assert not caplog.records


def test_files_that_went_between_two_looks_are_told(engine: LogEngine, caplog: pytest.LogCaptureFixture) -> None:
    engine.write("1")
    with reader_of(engine) as reader:
        for number in range(2, 6):
            engine.rotate()
            engine.write(str(number))
        with caplog.at_level(logging.WARNING):
            assert read_all(reader) == told(1, 3, 4, 5)
    assert "rotated faster than it is looked at" in caplog.text


def test_what_only_a_reader_keeps_from_going_has_a_bound(engine: LogEngine, caplog: pytest.LogCaptureFixture) -> None:
    engine.write("1")
    with reader_of(engine) as reader:
        for number in range(2, 9):
            engine.rotate()
            engine.write(str(number))
            reader.hold()
        size = engine.path.stat().st_size
        with caplog.at_level(logging.WARNING):
            # The five oldest have no names any more; the first of them is being read.
            reader.hold(3 * size + size // 2)
            assert "written faster than it is read" in caplog.text
            engine.write("9")
            reader.hold(0)
        assert read_all(reader) == told(1, 6, 7, 8, 9)


@pytest.mark.parametrize("lines", [0, 1, 2, 3, 4, 9])
def test_a_tail_goes_back_over_rotated_files_and_what_follows_it_is_told_once(engine: LogEngine, lines: int) -> None:
    engine.write("1")
    engine.write("2")
    engine.rotate()
    engine.write("3")
    engine.rotate()
    with reader_of(engine, lines) as reader:
        assert read_all(reader) == told(*[1, 2, 3][max(0, 3 - lines) :])
        engine.write("4")
        assert read_all(reader) == told(4)


def test_a_file_that_is_removed_while_it_is_read_is_read_to_its_end(engine: LogEngine) -> None:
    engine.write("1")
    with reader_of(engine) as reader:
        assert read_all(reader) == told(1)
        engine.write("2")
        engine.path.unlink()
        engine.close()
        again = type(engine)(engine.path.parent)
        again.write("3")
        assert read_all(reader) == told(2, 3)
        again.close()


def test_a_log_that_is_not_there_yet_is_read_once_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.mkdir()
    for kind in ENGINES.values():
        engine = kind(path)
        engine.path.unlink()
        with reader_of(engine) as reader:
            assert read_all(reader) == b""
            engine.close()
            with closing(kind(path)) as later:
                later.write("1")
                assert read_all(reader) == told(1)
                later.path.unlink()


def test_a_file_that_somebody_emptied_is_read_from_its_begin(engine: LogEngine) -> None:
    engine.write("1")
    engine.write_bytes(engine.bytes_of(b"unfinished")[:-4])
    with reader_of(engine) as reader:
        assert read_all(reader) == told(1)
        os.truncate(engine.path, 0)
        engine.write("2")
        assert read_all(reader) == told(2)


@pytest.mark.parametrize("rotated", [False, True])
def test_what_is_whole_behind_half_an_entry_does_not_wait_for_more(tmp_path: Path, rotated: bool) -> None:
    """The disk was full, and the container wrote little after that, or had ended."""
    with closing(RecordEngine(tmp_path)) as engine:
        engine.write("1")
        engine.write_bytes(engine.bytes_of(b"x" * 16384)[:3000])
        engine.write("2")
        if rotated:
            engine.rotate()
        third = engine.bytes_of(b"3")
        engine.write_bytes(third[:-4])
        with reader_of(engine) as reader:
            assert read_all(reader) == told(1, 2)
            engine.write_bytes(third[-4:])
            assert read_all(reader) == told(3)


class Interrupted(LogFiles):
    """Lets the engine rotate between any two files that are opened."""

    def __init__(self, engine: LogEngine, chosen: random.Random) -> None:
        self._engine, self._chosen = engine, chosen
        self.written = 0

    def write(self) -> None:
        self.written += 1
        self._engine.write(str(self.written))

    def newest_first(self) -> Iterator[Path]:
        for path in self._engine.files.newest_first():
            yield path
            for _ in range(self._chosen.choice([0] * 9 + [1, 1, 2])):
                self.write()
                self._engine.rotate()

    def cut(self, data: bytes, *, ended: bool = False) -> tuple[list[Entry], bytes]:
        return self._engine.files.cut(data, ended=ended)

    def tail_start(self, *_: object) -> int | None:
        raise NotImplementedError


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", list(ENGINES))
def test_rotation_in_the_midst_of_a_look_takes_nothing(tmp_path: Path, kind: str, seed: int) -> None:
    chosen = random.Random(seed)
    with closing(ENGINES[kind](tmp_path, kept=50)) as engine:
        files = Interrupted(engine, chosen)
        reader = LogReader(files)
        reader.begin(None)
        found = b""
        for _ in range(50):
            if chosen.random() < 0.7:
                files.write()
            if chosen.random() < 0.2:
                engine.rotate()
            if chosen.random() < 0.5:
                found += Joiner(stamps=False).join(reader.read() or [])
            else:
                reader.hold()
        found += read_all(reader)
        found += read_all(reader)
        reader.close()
        assert found == told(*range(1, files.written + 1))


def test_no_descriptor_is_left(engine: LogEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()
    for number in range(3):
        engine.write(str(number))
        engine.rotate()
    with reader_of(engine) as reader:
        read_all(reader)
    opened = 0

    def failing(path: Path, files: LogFiles) -> OpenLog | None:
        nonlocal opened
        opened += 1
        if opened == 3:
            raise PermissionError(13, "Permission denied", str(path))
        return open_log(path, files)

    monkeypatch.setattr(reader_module, "open_log", failing)
    reader = LogReader(engine.files)
    with closing(reader), pytest.raises(PermissionError):
        reader.begin(None)
    assert descriptors() == before


def test_a_closed_reader_has_nothing(engine: LogEngine) -> None:
    engine.write("1")
    with reader_of(engine) as reader:
        pass
    reader.hold()
    assert reader.read() is None


def test_what_is_no_file_of_the_engines_is_no_log(tmp_path: Path) -> None:
    for kind, secret in ((LineEngine, "lines"), (RecordEngine, "records")):
        folder = tmp_path / secret
        folder.mkdir()
        engine = kind(folder)
        engine.write("secret")
        engine.path.rename(folder / "elsewhere")
        engine.path.symlink_to("elsewhere")
        with reader_of(engine) as reader:
            assert read_all(reader) == b""
        engine.path.unlink()
        os.mkfifo(folder / "container.log.1")
        (folder / "container.log.2").mkdir()
        engine.close()
        with closing(kind(folder)) as again:
            again.write("words")
            for tail in (None, 5):
                with reader_of(again, tail) as reader:
                    assert read_all(reader) == b"words\n"
