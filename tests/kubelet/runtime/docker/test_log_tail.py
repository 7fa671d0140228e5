"""The last lines, of an engine that stamps each stream by itself."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from services.kubelet.runtime.docker.engine_logs import EngineLogs
from services.kubelet.runtime.docker.log_pieces import Piece
from services.kubelet.runtime.docker.streams import HEADER
from services.kubelet.runtime.port import LogOptions


def piece(stream: int, nanos: int, line: str) -> Piece:
    return Piece(stream, b"2026-01-02T03:04:05.%09dZ " % nanos, line.encode())


class FakeEngine:
    """Answers for one container as the engine does: a number of last pieces, and of those the ones not stamped before a time.
    ``later`` is written between the first question and the second."""

    def __init__(self, pieces: list[Piece], later: list[Piece]) -> None:
        self._pieces = pieces
        self._later = later

    @asynccontextmanager
    async def stream(self, method: str, path: str, *, params: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        assert (method, path) == ("GET", "containers/c/logs")
        tail, since = params["tail"], int(str(params.get("since", "0.0")).split(".")[1])
        found = [one for one in (self._pieces if tail == "all" else self._pieces[-tail:]) if int(one.stamp[20:29]) >= since]
        self._pieces, self._later = self._pieces + self._later, []

        async def chunks() -> AsyncIterator[bytes]:
            for one in found:
                yield HEADER.pack(one.stream, len(one.stamp + one.data)) + one.stamp + one.data

        yield chunks()


async def tail(pieces: list[Piece], lines: int, later: list[Piece] | None = None) -> list[str]:
    logs = EngineLogs(FakeEngine(pieces, later or []), SimpleNamespace(ttys=set()))  # type: ignore[arg-type]
    return b"".join([data async for data in logs.read("c", LogOptions(tail_lines=lines))]).decode().splitlines()


async def test_a_line_that_was_stamped_earlier_and_written_later_is_of_the_tail() -> None:
    pieces = [piece(1, 10, "one\n"), piece(1, 30, "two\n"), piece(2, 20, "oops\n")]
    assert await tail(pieces, 2) == ["two", "oops"]
    assert await tail(pieces, 1) == ["oops"]


async def test_what_is_written_meanwhile_follows() -> None:
    pieces = [piece(1, number, f"{number}\n") for number in range(40)]
    assert await tail(pieces, 3, [piece(1, 50, "50\n")]) == ["37", "38", "39", "50"]


@pytest.mark.parametrize("seed", range(20))
async def test_the_last_lines_are_those_of_the_whole_in_its_order(seed: int) -> None:
    chosen = random.Random(seed)
    pieces = [piece(chosen.choice((1, 2)), 100 + number + chosen.randint(-3, 3), f"{number}\n") for number in range(chosen.randint(1, 120))]
    for lines in (1, 2, 5, 30):
        assert await tail(pieces, lines) == [one.data.decode().strip() for one in pieces][-lines:]
