"""A component's lines as `kubectl logs` asks for them: from when until when, how many, with their times, and those that come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.kubelet.runtime.port import LogOptions
from services.standalone import component_log
from services.standalone.component_log import ComponentLog, time_of

TEXT = """\
11:00:00.000 info    services.scheduler.queue  from before there was a date
2026-05-04 12:00:01.250 info    services.scheduler.queue  one
2026-05-04 12:00:01.260 info    services.dns.server  another's
2026-05-04 12:00:02.000 error   services.standalone.cluster  a component failed  component=scheduler
Traceback
2026-05-04 12:00:03.000 info    services.scheduler.queue  two
"""
ALL = LogOptions()
DATED = TEXT.splitlines(keepends=True)[1:]


def at(seconds: float) -> datetime:
    """So many seconds after noon, by the machine's time, as the lines are."""
    return (datetime(2026, 5, 4, 12) + timedelta(seconds=seconds)).astimezone(UTC)


@pytest.fixture
def log(tmp_path: Path) -> ComponentLog:
    (tmp_path / "l").write_text(TEXT)
    return ComponentLog(tmp_path / "l", "scheduler")


async def read(log: ComponentLog, options: LogOptions = ALL, since: datetime | None = None, until: datetime | None = None) -> str:
    return b"".join([data async for data in log.read(options, since, until)]).decode()


async def test_lines_of_one_run(log: ComponentLog) -> None:
    own = [DATED[0], DATED[2], DATED[3], DATED[4]]
    assert await read(log) == "".join([TEXT.splitlines(keepends=True)[0], *own])
    assert await read(log, since=at(1)) == "".join(own)
    assert await read(log, since=at(1.2509)) == "".join(own), "lines tell milliseconds"
    assert await read(log, since=at(2)) == "".join(own[1:])
    assert await read(log, until=at(3), since=at(1.5)) == "".join(own[1:3]), "a traceback belongs to the line before"
    assert await read(log, LogOptions(since=at(3)), at(0)) == own[3]
    assert await read(log, LogOptions(tail_lines=2)) == "".join(own[2:])
    assert await read(log, LogOptions(tail_lines=0)) == ""


async def test_times_are_told_as_a_runtime_tells_them(log: ComponentLog) -> None:
    moment = at(3)
    assert await read(log, LogOptions(timestamps=True, tail_lines=1)) == f"{moment:%Y-%m-%dT%H:%M:%S}.000000000Z {DATED[4]}"


async def test_long_logs_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_log, "CHUNK_LINES", 3)
    lines = [f"2026-05-04 12:00:0{number}.000 info services.scheduler  x\n" for number in range(8)]
    (tmp_path / "l").write_text("".join(lines))
    pieces = [data async for data in ComponentLog(tmp_path / "l", "scheduler").read(LogOptions(), None, None)]
    assert [piece.count(b"\n") for piece in pieces] == [3, 3, 2] and b"".join(pieces).decode() == "".join(lines)


async def test_what_comes_is_followed_over_a_new_file(log: ComponentLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_log, "LOOK_SECONDS", 0.001)
    stream: AsyncIterator[bytes] = log.read(LogOptions(follow=True, tail_lines=1), None, None)
    async with asyncio.timeout(20), aclosing(stream) as lines:  # type: ignore[type-var]
        assert (await anext(lines)).decode() == DATED[4]
        (tmp_path / "l").replace(tmp_path / "l.1")
        (tmp_path / "l").write_text(DATED[1] + DATED[0])
        assert (await anext(lines)).decode() == DATED[0]


async def test_who_has_written_nothing_has_no_lines(tmp_path: Path) -> None:
    assert await read(ComponentLog(tmp_path / "none", "scheduler")) == ""


@pytest.mark.parametrize(
    ("line", "moment"),
    [
        ('{"level":"warn","ts":"2026-05-04T12:00:01.250Z","msg":"x"}', datetime(2026, 5, 4, 12, 0, 1, 250_000, tzinfo=UTC)),
        ('{"level":"warn","ts":"2026-05-04T12:00:01.250+0000"}', datetime(2026, 5, 4, 12, 0, 1, 250_000, tzinfo=UTC)),
        ('{"time":"2026-05-04T14:00:01.250+02:00","level":"info"}', datetime(2026, 5, 4, 12, 0, 1, 250_000, tzinfo=UTC)),
        ('{"time":"soon"}', None),
        ('{"ts":1588593601}', None),
        ("{", None),
        ("Traceback", None),
        ("2026-99-99 12:00:01.250 info    services.dns  x", None),
        ("12:00:01.250 info    services.dns  x", None),
    ],
)
def test_when_a_line_was_written(line: str, moment: datetime | None) -> None:
    assert time_of(line) == moment
