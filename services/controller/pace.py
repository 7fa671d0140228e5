"""How often something may be done about one key: a few times at once, then at a steady rate."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from knarr.objects.keys import Key

BURST = 10.0
PER_SECOND = 10.0
# As good as a whole one: sums of fractions never quite meet it.
WHOLE = 1.0 - 1e-6


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Pace:
    """A token bucket a key. What changes rarely is told of at once; what flaps, in batches."""

    def __init__(self, burst: float = BURST, per_second: float = PER_SECOND) -> None:
        self._burst, self._per_second = burst, per_second
        self._buckets: dict[Key, _Bucket] = {}

    def wait_seconds(self, key: Key) -> float:
        """How long to wait before the next time; 0: now."""
        left = self._left(key)
        return 0.0 if left >= WHOLE else (1.0 - left) / self._per_second

    def did(self, key: Key) -> None:
        """Counts one time. Those that did not wait leave no debt: the next is never further than one."""
        self._buckets[key] = _Bucket(max(self._left(key) - 1.0, 0.0), _now())

    def forget(self, key: Key) -> None:
        self._buckets.pop(key, None)

    def _left(self, key: Key) -> float:
        bucket = self._buckets.get(key)
        return self._burst if bucket is None else min(self._burst, bucket.left + (_now() - bucket.at) * self._per_second)


def _now() -> float:
    return asyncio.get_running_loop().time()
