"""A log that the engine breaks off while it is followed: it goes on, every line once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from services.kubelet.runtime.docker.engine import EngineNotFound
from services.kubelet.runtime.docker.engine_logs import RESUME_TRIES, EngineLogs, _seconds
from services.kubelet.runtime.docker.log_pieces import Piece
from services.kubelet.runtime.docker.streams import HEADER
from services.kubelet.runtime.port import EXITED, RUNNING, STDERR, STDOUT, LogOptions, RuntimeFailure
from tests.support.virtual_time import run

TOO_LARGE = Piece(3, b"Error grabbing logs: log message", b" is too large (4073636780 > 1000000)\n")


def piece(stream: int, nanos: int, line: str) -> Piece:
    return Piece(stream, b"2026-01-02T03:04:05.%09dZ " % nanos, line.encode())


class BreakingEngine:
    """Has a log, and gives of it at each question as much as the next of ``parts`` says; ``words`` then, or nothing."""

    def __init__(self, pieces: list[Piece], parts: list[int], words: Piece | None = TOO_LARGE) -> None:
        self.pieces, self.parts, self.words = pieces, parts, words
        self.state = RUNNING
        self.asked: list[dict[str, Any]] = []

    @asynccontextmanager
    async def stream(self, method: str, path: str, *, params: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        self.asked.append(params)
        left_out = {stream for stream, name in ((STDOUT, "stdout"), (STDERR, "stderr")) if not params[name]}
        since = Decimal(str(params.get("since", "0")))
        found = [one for one in self.pieces if Decimal(_seconds(one.stamp)) >= since and one.stream not in left_out]
        part = self.parts.pop(0) if self.parts else None

        async def chunks() -> AsyncIterator[bytes]:
            for one in found[:part]:
                yield HEADER.pack(one.stream, len(one.stamp + one.data)) + one.stamp + one.data
            if part is None:
                self.state = EXITED
            elif self.words is not None:
                yield HEADER.pack(self.words.stream, len(self.words.stamp + self.words.data)) + self.words.stamp + self.words.data

        yield chunks()


async def followed(engine: BreakingEngine, *, follow: bool = True, stream: int | None = None) -> list[str]:
    observer = SimpleNamespace(ttys=set(), state=lambda _: engine.state)
    logs = EngineLogs(engine, observer)  # type: ignore[arg-type]
    return b"".join([data async for data in logs.read("c", LogOptions(follow=follow, stream=stream))]).decode().splitlines()


# Two lines of one instant, and a stream whose stamps are a little behind.
LINES = [
    piece(1, 100, "a\n"),
    piece(1, 200, "b\n"),
    piece(1, 200, "c\n"),
    piece(1, 200, "d\n"),
    piece(2, 150, "e\n"),
    piece(1, 300, "f\n"),
    piece(2, 290, "g\n"),
]
ALL = list("abcdefg")


@pytest.mark.parametrize("words", [TOO_LARGE, None], ids=["said", "silent"])
@pytest.mark.parametrize("first", range(len(LINES) + 1))
def test_each_line_comes_once(first: int, words: Piece | None) -> None:
    engine = BreakingEngine(LINES, [first, 5, 6], words)
    assert run(followed(engine)) == ALL
    assert len(engine.asked) == 4


@pytest.mark.parametrize("first", range(6))
def test_of_one_stream_each_line_comes_once(first: int) -> None:
    assert run(followed(BreakingEngine(LINES, [first, 2]), stream=STDOUT)) == list("abcdf")
    assert run(followed(BreakingEngine(LINES, [first, 1]), stream=STDERR)) == list("eg")


def test_a_log_that_is_not_followed_goes_on_too() -> None:
    assert run(followed(BreakingEngine(LINES, [3]), follow=False)) == ALL


def test_the_end_of_a_container_is_the_end_of_its_log() -> None:
    engine = BreakingEngine(LINES, [], None)
    assert run(followed(engine)) == ALL
    assert len(engine.asked) == 1


def test_one_that_gets_no_further_is_told_in_the_engines_words() -> None:
    engine = BreakingEngine(LINES, [2] + [0] * 100)
    with pytest.raises(RuntimeFailure, match=r"^log message is too large"):
        run(followed(engine))
    assert len(engine.asked) == RESUME_TRIES + 1


def test_a_container_that_is_removed_meanwhile_ends_the_log() -> None:
    class Removed(BreakingEngine):
        @asynccontextmanager
        async def stream(self, method: str, path: str, *, params: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
            if self.asked:
                raise EngineNotFound(404, "No such container: c")
            async with super().stream(method, path, params=params) as chunks:
                yield chunks

    assert run(followed(Removed(LINES, [2]))) == ["a", "b"]


def test_a_stream_that_is_alone_is_read_again_for_a_moment_only() -> None:
    lines = [piece(1, 100 + 1_000_000 * number, f"{number}\n") for number in range(900)]
    engine = BreakingEngine(lines, [800])
    assert run(followed(engine)) == [str(number) for number in range(900)]
    assert engine.asked[1]["since"] == _seconds(piece(1, 100 + 549_000_000, "").stamp)


class SilentEngine(BreakingEngine):
    """Gives the first lines of a log that is followed and then nothing, once; a log that is not followed it gives whole."""

    @asynccontextmanager
    async def stream(self, method: str, path: str, *, params: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        if not params["follow"] or not self.parts:
            self.parts, kept, state = [], self.parts, self.state
            async with super().stream(method, path, params=params) as chunks:
                yield chunks
            self.parts = kept
            self.state = state if not params["follow"] else EXITED
            return
        self.words = None
        async with super().stream(method, path, params=params) as chunks:

            async def silent() -> AsyncIterator[bytes]:
                async for chunk in chunks:
                    yield chunk
                await asyncio.Event().wait()

            yield silent()


def test_a_stream_that_stays_silent_is_asked_for_anew() -> None:
    engine = SilentEngine(LINES, [3])
    assert run(followed(engine)) == ALL
    follows = [asked["follow"] for asked in engine.asked]
    # Twice it was asked whether there is more.
    assert follows == [1, 0, 0, 1]


def test_a_container_that_writes_nothing_is_let_be() -> None:
    async def hour() -> int:
        engine = SilentEngine(LINES, [len(LINES)])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await followed(engine)
        return len(engine.asked)

    assert 50 < run(hour()) < 70


def test_what_the_other_stream_is_written_is_no_reason_to_ask_anew() -> None:
    async def minute() -> list[int]:
        engine = SilentEngine([*LINES, piece(2, 900, "later\n")], [len(LINES)])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await followed(engine, stream=STDOUT)
        return [asked["follow"] for asked in engine.asked]

    follows = run(minute())
    assert follows[0] == 1 and not any(follows[1:])


def test_after_a_rush_it_is_asked_at_once() -> None:
    async def seconds() -> float:
        lines = [piece(1, number, "x" * 9_999 + "\n") for number in range(300)]
        assert len(await followed(SilentEngine(lines, [200]))) == 300
        return asyncio.get_running_loop().time()

    assert run(seconds()) < 0.5
