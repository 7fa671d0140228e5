from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from knarr.client import reconciler as reconciler_module
from knarr.client.backoff import Backoff
from knarr.client.reconciler import Again, KeyState, Reconciler, Terminal
from knarr.machinery.errors import status_error
from knarr.objects.keys import Key
from tests.support.virtual_time import START, VirtualClock, virtual_time

KEY = Key("default", "a")


@asynccontextmanager
async def running(reconciler: Reconciler) -> AsyncIterator[None]:
    task = asyncio.ensure_future(reconciler.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Scripted:
    """A reconcile that does what it is told, one outcome a call, and then succeeds."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []

    async def __call__(self, key: Key) -> Again | None:
        self.times.append(round(asyncio.get_running_loop().time(), 6))
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, Again) else None


@virtual_time
async def test_failures_back_off_exponentially_to_sixteen_minutes() -> None:
    script = Scripted(*[RuntimeError("no")] * 21)
    reconciler = Reconciler("test", script, clock=VirtualClock())
    async with running(reconciler):
        reconciler.enqueue(KEY)
        await asyncio.sleep(24 * 3600)
    gaps = [round(later - earlier, 6) for earlier, later in zip(script.times, script.times[1:], strict=False)]
    assert gaps[:4] == [0.005, 0.01, 0.02, 0.04]
    assert gaps[-3:] == [960, 960, 960] and len(script.times) == 22
    assert reconciler.status().errors == 21 and reconciler.status().syncs == 22
    assert reconciler.key_status(KEY).failures == 0 and reconciler.key_status(KEY).last_error == ""


@virtual_time
async def test_success_forgets_failures() -> None:
    script = Scripted(RuntimeError("1"), RuntimeError("2"), None, RuntimeError("3"))
    reconciler = Reconciler("test", script, clock=VirtualClock())
    async with running(reconciler):
        reconciler.enqueue(KEY)
        await asyncio.sleep(1)
        reconciler.enqueue(KEY)
        await asyncio.sleep(1)
    assert script.times == [0, 0.005, 0.015, 1, 1.005]


@virtual_time
async def test_again_comes_back_and_counts_as_success() -> None:
    script = Scripted(RuntimeError("1"), Again(30), RuntimeError("2"))
    reconciler = Reconciler("test", script, clock=VirtualClock())
    async with running(reconciler):
        reconciler.enqueue(KEY)
        await asyncio.sleep(10)
        assert reconciler.key_status(KEY).next_in_seconds == pytest.approx(20.005)
        await asyncio.sleep(100)
    assert script.times == [0, 0.005, 30.005, 30.01]


@virtual_time
async def test_a_run_before_its_time_replaces_the_planned_one() -> None:
    script = Scripted(Again(30), Again(50))
    reconciler = Reconciler("test", script, clock=VirtualClock())
    async with running(reconciler):
        reconciler.enqueue(KEY)
        await asyncio.sleep(10)
        reconciler.enqueue(KEY)
        await asyncio.sleep(100)
    assert script.times == [0, 10, 60]


@virtual_time
async def test_terminal_errors_wait_for_the_next_change() -> None:
    script = Scripted(Terminal("bad template"))
    reconciler = Reconciler("test", script, clock=VirtualClock())
    async with running(reconciler):
        reconciler.enqueue(KEY)
        await asyncio.sleep(3600)
        assert script.times == [0]
        status = reconciler.key_status(KEY)
        assert (status.last_error, status.failures, status.next_in_seconds) == ("bad template", 0, 0)
        assert status.last_sync_seconds == START.timestamp()
        reconciler.enqueue(KEY)
        await asyncio.sleep(1)
    assert script.times == [0, 3600]


@virtual_time
async def test_enqueue_after_survives_an_earlier_run() -> None:
    script = Scripted()
    reconciler = Reconciler("test", script, clock=VirtualClock())
    async with running(reconciler):
        reconciler.enqueue_after(KEY, 10)
        reconciler.enqueue_after(KEY, 20)
        await asyncio.sleep(5)
        reconciler.enqueue(KEY)
        await asyncio.sleep(60)
    assert script.times == [5, 10]


@virtual_time
async def test_workers_run_different_keys_together_and_one_key_alone() -> None:
    spans: list[tuple[str, float, float]] = []

    async def slow(key: Key) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.sleep(1)
        spans.append((key.name, started, loop.time()))

    reconciler = Reconciler("test", slow, workers=2)
    async with running(reconciler):
        for name in "ab":
            reconciler.enqueue(Key("", name))
        await asyncio.sleep(0.5)
        assert reconciler.status().running == 2
        reconciler.enqueue(Key("", "a"))
        reconciler.enqueue(Key("", "a"))
        await asyncio.sleep(10)
    assert spans == [("a", 0, 1), ("b", 0, 1), ("a", 1, 2)]


@virtual_time
async def test_conflicts_are_retried_quietly(caplog: pytest.LogCaptureFixture) -> None:
    script = Scripted(status_error("Conflict", "modified"))
    reconciler = Reconciler("test", script, backoff=Backoff(first_seconds=1))
    async with running(reconciler):
        reconciler.enqueue(KEY)
        await asyncio.sleep(5)
    assert script.times == [0, 1]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@virtual_time
async def test_what_wants_something_next_is_told_with_failures_first() -> None:
    outcomes: dict[str, object] = {"broken": RuntimeError("no room"), "hopeless": Terminal("bad field"), "later": Again(30.0)}
    busy, free = asyncio.Event(), asyncio.Event()

    async def reconcile(key: Key) -> Again | None:
        outcome = outcomes.get(key.name)
        if key.name == "slow":
            busy.set()
            await free.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, Again) else None

    reconciler = Reconciler("test", reconcile, workers=1, backoff=Backoff(first_seconds=10.0), clock=VirtualClock())
    async with running(reconciler):
        for name in ("broken", "hopeless", "later", "fine", "slow", "queued"):
            reconciler.enqueue(Key("default", name))
        await busy.wait()
        told = [(key.name, state, status.last_error, round(status.next_in_seconds)) for key, state, status in reconciler.active()]
        # Free again: what has nothing more to do is told no longer.
        free.set()
        await asyncio.sleep(1)
        left = [key.name for key, _, _ in reconciler.active()]
    assert told == [
        ("hopeless", KeyState.FAILED, "bad field", 0),
        ("broken", KeyState.RETRIED, "no room", 10),
        ("slow", KeyState.RUNNING, "", 0),
        ("queued", KeyState.QUEUED, "", 0),
        ("later", KeyState.PLANNED, "", 30),
    ]
    assert left == ["hopeless", "broken", "later"]


async def test_what_went_well_is_forgotten_before_what_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler_module, "REMEMBERED_KEYS", 2)
    bad, good = Key("", "bad"), [Key("", f"good-{number}") for number in range(5)]

    async def reconcile(key: Key) -> None:
        if key == bad:
            raise Terminal("no")

    reconciler = Reconciler("few", reconcile, workers=1)
    for key in (bad, *good):
        reconciler.enqueue(key)
    async with running(reconciler), asyncio.timeout(10):
        while reconciler.status().syncs < 6 or reconciler.status().running:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert reconciler.key_status(bad).last_error == "no"
    assert [bool(reconciler.key_status(key).last_sync_seconds) for key in good] == [False] * 3 + [True] * 2
    assert [key for key, _, _ in reconciler.active()] == [bad]
