"""Lines on their way: bounded, counted, written before the end, and a sink that fails."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from services.apiserver.audit.backlog import Backlog
from services.apiserver.audit.bodies import Body
from services.apiserver.audit.lines import MAX_LINE_BYTES, Objects
from services.apiserver.audit.metrics import ERRORS, EVENTS


class Sink:
    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.fails = False
        self.is_closed = False

    def write(self, lines: bytes) -> None:
        if self.fails:
            raise OSError(28, "No space left on device")
        self.lines += lines.splitlines()

    def close(self) -> None:
        self.is_closed = True


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def test_what_waits_at_the_end_is_written() -> None:
    sink = Sink()
    backlog = Backlog(sink, "written")
    task = asyncio.create_task(backlog.run())
    await asyncio.sleep(0)
    backlog.add(b"one\n")
    backlog.add(b"two\n")
    await stopped(task)
    assert sink.lines == [b"one", b"two"]
    assert sink.is_closed
    assert EVENTS.of("written").value == 2


async def test_lines_are_written_while_it_runs_in_their_order() -> None:
    sink = Sink()
    backlog = Backlog(sink, "running")
    task = asyncio.create_task(backlog.run())
    for number in range(3):
        backlog.add(b"%d\n" % number)
        async with asyncio.timeout(10):
            while len(sink.lines) <= number:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    await stopped(task)
    assert sink.lines == [b"0", b"1", b"2"]


def test_what_comes_faster_is_left_out_and_counted() -> None:
    backlog = Backlog(Sink(), "full", max_lines=2)
    for _ in range(5):
        backlog.add(b"line\n")
    assert (EVENTS.of("full").value, ERRORS.of("full").value) == (2, 3)
    backlog = Backlog(Sink(), "large", max_bytes=10)
    backlog.add(b"123456\n")
    backlog.add(b"123456\n")
    assert (EVENTS.of("large").value, ERRORS.of("large").value) == (1, 1)


async def test_a_disk_that_is_full_costs_lines_and_nothing_else() -> None:
    sink = Sink()
    sink.fails = True
    backlog = Backlog(sink, "disk")
    backlog.add(b"lost\n")
    task = asyncio.create_task(backlog.run())
    async with asyncio.timeout(10):
        while not ERRORS.of("disk").value:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    sink.fails = False
    backlog.add(b"kept\n")
    await stopped(task)
    assert sink.lines == [b"kept"]
    assert ERRORS.of("disk").value == 1


FIRST, LAST = b'{"kind":"Event",', b'"stageTimestamp":"now","annotations":{"a":"b"}}'


def body(text: bytes) -> Body:
    return Body(len(text), lambda: text)


def test_objects_stand_in_the_line() -> None:
    line = orjson.loads(Objects(FIRST, LAST, body(b'{"a":1}'), body(b'{"b":2}'), omits_managed_fields=False).line())
    assert (line["requestObject"], line["responseObject"]) == ({"a": 1}, {"b": 2})


def test_large_objects_are_left_out_and_that_is_said() -> None:
    large = b'"' + b"x" * MAX_LINE_BYTES + b'"'
    objects = Objects(FIRST, LAST, body(large), None, omits_managed_fields=False)
    assert objects.held_bytes < 1000
    expected = {"kind": "Event", "stageTimestamp": "now", "annotations": {"audit.k8s.io/truncated": "true", "a": "b"}}
    assert orjson.loads(objects.line()) == expected
    # What is only known to be large once it is written.
    assert orjson.loads(Objects(FIRST, LAST, Body(1, lambda: large), None, omits_managed_fields=False).line()) == expected
    bare = Objects(FIRST, b'"stageTimestamp":"now"}', Body(1, lambda: large), None, omits_managed_fields=False)
    assert orjson.loads(bare.line())["annotations"] == {"audit.k8s.io/truncated": "true"}


def test_managers_are_left_out_of_objects_and_of_lists() -> None:
    text = b'{"metadata":{"name":"a","managedFields":[]},"items":[{"metadata":{"managedFields":[1]}},7]}'
    line = orjson.loads(Objects(FIRST, LAST, None, body(text), omits_managed_fields=True).line())
    assert line["responseObject"] == {"metadata": {"name": "a"}, "items": [{"metadata": {}}, 7]}


def test_an_object_that_cannot_be_read_costs_nothing_but_itself() -> None:
    def broken() -> bytes:
        raise ValueError

    line = orjson.loads(Objects(FIRST, LAST, Body(3, broken), body(b"{}"), omits_managed_fields=False).line())
    assert "requestObject" not in line
    assert line["responseObject"] == {}


async def test_that_it_does_not_keep_up_is_told_once_of_each_heap(caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink()
    backlog = Backlog(sink, "flooded", max_lines=2)
    for _ in range(10):
        backlog.add(b"line\n")
    assert ERRORS.of("flooded").value == 8
    assert len(caplog.records) == 1
    task = asyncio.create_task(backlog.run())
    await asyncio.sleep(0)
    await stopped(task)
    assert sink.lines == [b"line"] * 2
    for _ in range(4):
        backlog.add(b"line\n")
    assert len(caplog.records) == 2
