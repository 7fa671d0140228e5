"""Tasks that should run for ever do not end unnoticed."""

from __future__ import annotations

import asyncio

import pytest

from knarr.service.tasks import run_together


async def forever(stopped: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        stopped.append("stopped")


async def test_an_error_stops_the_others_and_is_raised() -> None:
    stopped: list[str] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run_together("x", {"a": forever(stopped), "b": fail()})
    assert stopped == ["stopped"]


async def test_a_silent_end_is_an_error_that_names_the_task() -> None:
    async def end() -> None:
        return None

    with pytest.raises(RuntimeError, match="x/b ended"):
        await run_together("x", {"a": forever([]), "b": end()})


async def test_cancelling_stops_all() -> None:
    stopped: list[str] = []
    task = asyncio.create_task(run_together("x", {"a": forever(stopped), "b": forever(stopped)}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert stopped == ["stopped", "stopped"]
