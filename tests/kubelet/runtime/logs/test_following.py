"""Following a log's files: nothing is lost to rotation, nothing is read ahead, nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, closing
from datetime import timedelta
from pathlib import Path

import pytest

from services.kubelet.runtime.logs import following
from services.kubelet.runtime.logs.entries import Entry, Joiner
from services.kubelet.runtime.logs.following import Follower, read_log
from services.kubelet.runtime.logs.reader import HELD_BYTES, LogReader
from services.kubelet.runtime.port import STDERR, STDOUT, LogOptions, RuntimeFailure
from tests.kubelet.runtime.logs.log_engines import ENGINES, STARTED, LogEngine
from tests.kubelet.support import until


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogEngine]:
    with closing(ENGINES[request.param](tmp_path)) as made:
        yield made


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FOLLOW_SECONDS", 0.001)
    monkeypatch.setattr(following, "HOLD_SECONDS", 0.001)


class CountingReader(LogReader):
    def __init__(self, engine: LogEngine) -> None:
        super().__init__(engine.files)
        self.begin(None)
        self.reads = self.holds = 0

    def read(self) -> list[Entry] | None:
        self.reads += 1
        return super().read()

    def hold(self, most_bytes: int = HELD_BYTES) -> None:
        super().hold(most_bytes)
        self.holds += 1

    async def seen(self) -> None:
        """Until what is written now was looked at: a look that is under way may have been too early."""
        holds = self.holds
        await until(lambda: self.holds > holds + 1)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_follower_gets_every_line_and_ends_with_the_container(engine: LogEngine) -> None:
    runs, found, count = True, b"", 200
    async with asyncio.timeout(20), aclosing(read_log(engine.files, LogOptions(follow=True), lambda: runs)) as stream:  # type: ignore[type-var]
        engine.write("0")
        number = 1
        async for data in stream:
            found += data
            if number < count:
                engine.rotate()
                engine.write(str(number))
                number += 1
            runs = number < count
    assert found == b"".join(b"%d\n" % number for number in range(count))


async def test_for_who_is_slow_files_are_held_and_nothing_is_read_ahead(engine: LogEngine) -> None:
    reader, runs = CountingReader(engine), True
    engine.write("0")
    async with asyncio.timeout(20), aclosing(Follower(reader, lambda: runs).entries()) as stream:  # type: ignore[type-var]
        joiner = Joiner(stamps=False)
        found = joiner.join(await anext(stream))
        for number in range(1, 30):
            engine.rotate()
            engine.write(str(number))
            await reader.seen()
        assert reader.reads == 1
        runs = False
        found += b"".join([joiner.join(entries) async for entries in stream])
    reader.close()
    assert found == b"".join(b"%d\n" % number for number in range(30))


async def test_who_takes_nothing_for_long_keeps_no_removed_file(engine: LogEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "STALLED_SECONDS", 0.0)
    reader = CountingReader(engine)
    engine.write("0")
    before = descriptors()
    async with asyncio.timeout(20), aclosing(Follower(reader, lambda: True).entries()) as stream:  # type: ignore[type-var]
        await anext(stream)
        for number in range(1, 30):
            engine.rotate()
            engine.write(str(number))
            await reader.seen()
        # The one that is read, and those that have names.
        assert descriptors() <= before + engine.kept
    reader.close()


async def test_who_leaves_leaves_nothing(engine: LogEngine) -> None:
    for number in range(5):
        engine.write(str(number))
        engine.rotate()
    before, tasks = descriptors(), len(asyncio.all_tasks())
    for _ in range(20):
        async with aclosing(read_log(engine.files, LogOptions(follow=True), lambda: True)) as stream:  # type: ignore[type-var]
            await anext(stream)
    assert (descriptors(), len(asyncio.all_tasks())) == (before, tasks)


async def test_options_are_heeded(engine: LogEngine) -> None:
    for number in range(5):
        engine.write(str(number), stream=1 + number % 2)
        engine.rotate()

    async def shown(options: LogOptions) -> list[bytes]:
        return b"".join([data async for data in read_log(engine.files, options, lambda: True)]).splitlines()

    # Of the six files the engine keeps three, the last of them empty.
    assert await shown(LogOptions()) == [b"3", b"4"]
    assert await shown(LogOptions(tail_lines=1)) == [b"4"]
    assert await shown(LogOptions(since=STARTED + timedelta(seconds=4))) == [b"4"]
    assert await shown(LogOptions(stream=STDOUT)) == [b"4"]
    assert await shown(LogOptions(stream=STDERR)) == [b"3"]
    assert await shown(LogOptions(timestamps=True, tail_lines=1)) == [b"2026-01-02T15:04:09.000000000Z 4"]


async def test_a_log_that_cannot_be_read_is_told(engine: LogEngine) -> None:
    engine.write("0")
    loop_file = engine.path.parent / "deep" / "er"
    loop_file.parent.write_text("a file where a folder should be")
    broken = type(engine.files)(loop_file)  # type: ignore[call-arg]
    with pytest.raises(RuntimeFailure, match=r"cannot be read: .*Not a directory"):
        [data async for data in read_log(broken, LogOptions(), lambda: False)]
