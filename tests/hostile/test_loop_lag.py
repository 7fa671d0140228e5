"""While hostile inputs are served, the loop stays free for others; what holds it is named."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from knarr.service.loop_lag import LoopLag
from services.apiserver import aside as asides
from services.apiserver.aside import aside
from tests.hostile.lag import INPUTS, lags_of

pytestmark = pytest.mark.hostile

# The bound is 50 ms, which `make bench ONLY=loop-lag` holds on a quiet machine; a machine that runs other tests beside gets more.
# What holds the loop by itself does so each time; what a first use compiles, or another process takes, does not.
HELD_SECONDS, ATTEMPTS = 0.3, 4


@pytest.mark.parametrize("name", INPUTS)
async def test_no_input_holds_the_loop(name: str) -> None:
    worst = []
    for _ in range(ATTEMPTS):
        status, lags = await lags_of(name)
        assert status in (200, 201, 400, 413, 422)
        worst.append(max(lags))
        if worst[-1] < HELD_SECONDS:
            return
    raise AssertionError(f"the loop was held for {min(worst):.3f} s each time")


async def test_too_many_large_requests_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asides, "MAX_WAITING", 2)
    results = await asyncio.gather(*(aside(1 << 20, time.thread_time) for _ in range(8)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Exception)]
    assert len(refused) == 6
    assert {(error.code, error.status.details.retry_after_seconds) for error in refused} == {(429, 1)}  # type: ignore[attr-defined]
    assert await aside(1 << 20, lambda: "free again") == "free again"


async def test_what_holds_the_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    measuring = asyncio.create_task(LoopLag().run())
    await asyncio.sleep(0.06)

    async def hold() -> None:
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            pass

    with caplog.at_level(logging.WARNING):
        await asyncio.create_task(hold(), name="POST /api/v1/pods")
        await asyncio.sleep(0.12)
    measuring.cancel()
    assert "POST /api/v1/pods" in [getattr(record, "by", "") for record in caplog.records]
