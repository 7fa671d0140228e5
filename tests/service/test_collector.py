"""What was freed goes back to the system, for as long as the process lives."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from knarr.service import collector
from knarr.service.tasks import cancel


async def test_memory_is_given_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    thrice = asyncio.Event()
    loop = asyncio.get_running_loop()

    def trim(kept_bytes: int) -> None:
        asked.append(kept_bytes)
        if len(asked) == 3:
            loop.call_soon_threadsafe(thrice.set)

    monkeypatch.setattr(collector, "GIVE_BACK_SECONDS", 0.0)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=trim))
    giving_back = asyncio.create_task(collector.give_back())
    async with asyncio.timeout(10):
        await thrice.wait()
    await cancel([giving_back])
    assert set(asked) == {0}


class Circle:
    def __init__(self) -> None:
        self.self = self


@pytest.mark.parametrize(("few", "told", "gone"), [(10**9, False, True), (0, False, False), (0, True, True)])
async def test_what_is_old_is_looked_through_where_there_is_little_of_it_or_much_is_gone(
    monkeypatch: pytest.MonkeyPatch, few: int, told: bool, gone: bool
) -> None:
    trimmed = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(collector, "GIVE_BACK_SECONDS", 0.0)
    monkeypatch.setattr(collector, "FEW_OBJECTS", few)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=lambda kept: loop.call_soon_threadsafe(trimmed.set)))
    circle = Circle()
    known = weakref.ref(circle)
    gc.collect()
    gc.disable()
    if told:
        collector.tell_gone()
    try:
        del circle
        giving_back = asyncio.create_task(collector.give_back())
        async with asyncio.timeout(10):
            await trimmed.wait()
        await cancel([giving_back])
        assert (known() is None) is gone
    finally:
        gc.enable()


@pytest.mark.parametrize(("objects", "looks"), [(1_000, 1), (collector.MOST_LOOKED_THROUGH + 1, 0)])
def test_what_a_start_has_made_is_looked_through_where_that_is_quick(
    objects: int, looks: int, monkeypatch: pytest.MonkeyPatch, unsettled: None
) -> None:
    looked = list[int]()
    monkeypatch.setattr(gc, "get_count", lambda: (objects, 0, 0))
    monkeypatch.setattr(gc, "collect", lambda: looked.append(0))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    collector.settle()
    monkeypatch.undo()
    assert len(looked) == looks


async def test_where_much_is_old_it_is_counted_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand simulated nodes are a million objects: to list them all held everybody up for half a second, twice a minute."""
    counted, rounds, enough, loop = list[int](), list[int](), asyncio.Event(), asyncio.get_running_loop()

    def count(generation: int) -> list[int]:
        counted.append(generation)
        return [1]

    def trim(kept: int) -> None:
        rounds.append(kept)
        if len(rounds) == 2 * collector.UNCOUNTED_ROUNDS + 1:
            loop.call_soon_threadsafe(enough.set)

    monkeypatch.setattr(collector, "GIVE_BACK_SECONDS", 0.0)
    monkeypatch.setattr(collector, "FEW_OBJECTS", 0)
    monkeypatch.setattr(gc, "get_objects", count)
    monkeypatch.setattr(gc, "collect", lambda generation: 0)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=trim))
    giving_back = asyncio.create_task(collector.give_back())
    async with asyncio.timeout(10):
        await enough.wait()
    await cancel([giving_back])
    assert len(counted) == 3 and set(counted) == {2}


def test_what_waits_to_be_looked_through_again_is_little() -> None:
    """Some 200 ns for each of them, during which nobody is served; and all there is, no more often than after a hundred million."""
    youngest, younger, old = collector.THRESHOLDS
    assert youngest * (younger + 2) < 200_000
    assert youngest * younger * old >= 100_000_000


@pytest.fixture
def unsettled() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    # As tests/conftest.py has it for all.
    gc.collect()
    gc.freeze()


def test_what_is_freed_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch, unsettled: None) -> None:
    """A large answer would be made of pages that the system takes and gives anew, each time."""
    chosen: dict[int, int] = {}
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=chosen.__setitem__))
    collector.settle()
    assert chosen == {-1: collector.KEPT_BYTES, -3: collector.MAPPED_BYTES}
    # The C library takes no larger one.
    assert collector.MAPPED_BYTES < 32 * 1024 * 1024


HEAPS = """
import re, sys, threading
from pathlib import Path
from knarr.service import collector
if sys.argv[1] == "shared":
    collector.share_heap()
made, all_there = [], threading.Barrier(9)
def hold():
    made.append(bytearray(100_000))
    all_there.wait()
    all_there.wait()
for _ in range(8):
    threading.Thread(target=hold).start()
all_there.wait()
# What a thread's own heap is set aside for: 64 MiB less what lies before the next multiple of them.
print(sum(int(end, 16) % (1 << 26) == 0 for end in re.findall(r"-([0-9a-f]+) ---p", Path("/proc/self/maps").read_text())))
all_there.wait()
"""


@pytest.mark.parametrize(("how", "one"), [("shared", True), ("apart", False)])
def test_threads_share_one_heap(how: str, one: bool) -> None:
    done = subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, text=True, check=True, timeout=60)
    assert (int(done.stdout) == 0) is one


async def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch, unsettled: None) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    collector.share_heap()
    await collector.give_back()
    collector.settle()


def test_what_is_loaded_is_looked_through_no_more(unsettled: None) -> None:
    before = gc.get_freeze_count()
    collector.spare_loaded()
    assert gc.get_freeze_count() > before
    made = Circle()
    assert any(found is made for found in gc.get_objects())
