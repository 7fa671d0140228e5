"""How the work for an input grows with it: measured in CPU time, judged by the ratio for inputs of n and 8 n."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

FACTOR = 8
# Linear work takes 8 times as long, quadratic 64 times. A first measure is small and may be disturbed; what looks bad is measured again.
# Where objects outgrow the processor's caches between the two sizes, linear work takes up to 23 times as long.
SUSPICIOUS, SUPER_LINEAR = 13.0, 32.0
FIRST, SECOND = 400, 2000
# What takes less for the larger input has nothing in it that grows badly.
NEGLIGIBLE_SECONDS = 0.01
REPEATS = 3


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """CPU time of the quickest run."""
    taken = []
    gc.disable()
    try:
        for _ in range(repeats):
            started = time.thread_time()
            work()
            taken.append(time.thread_time() - started)
    finally:
        gc.enable()
    return min(taken)


def is_super_linear(prepare: Callable[[int], Callable[[], object]], first: int = FIRST, second: int = SECOND) -> float:
    """0 when the work grows about as the input does, else by how much it grows for FACTOR as much input."""
    large = seconds(prepare(first * FACTOR))
    if large < NEGLIGIBLE_SECONDS or large / max(seconds(prepare(first), 2), 1e-6) < SUSPICIOUS:
        return 0.0
    ratio = seconds(prepare(second * FACTOR), REPEATS) / max(seconds(prepare(second), REPEATS), 1e-6)
    return ratio if ratio > SUPER_LINEAR else 0.0
