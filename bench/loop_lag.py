"""How long others wait for the API server's loop while it is sent what would hold it: the inputs of the hostile tests."""

from __future__ import annotations

import math

from bench.result import Result
from tests.hostile.lag import BEAT_SECONDS, INPUTS, lags_of

TARGET_MS, ROUNDS = 50.0, 5


def waits(lags: list[float]) -> list[float]:
    """What callers would wait who come at a fixed rate: of a long lag many feel a part."""
    return [lag - number * BEAT_SECONDS for lag in lags for number in range(max(1, math.floor(lag / BEAT_SECONDS)))]


async def loop_lag() -> list[Result]:
    found: list[float] = []
    for number in range(ROUNDS + 1):
        for name in INPUTS:
            _, lags = await lags_of(name)
            # The first round compiles what is used for the first time.
            found += waits(lags) if number else []
    found.sort()
    p99, worst = 1000 * found[int(len(found) * 0.99)], 1000 * found[-1]
    target = f"p99 ≤ {TARGET_MS:g} ms"
    return [Result("loop-lag", p99, "ms", f"target; longest {worst:.0f} ms", TARGET_MS, target, p99 <= TARGET_MS)]
