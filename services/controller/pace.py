"""How often something may be done about one key: a few times at once, then at a steady rate."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from knarr.objects.keys import Key

BURST = 10.0
PER_SECOND = 10.0
# As good as a whole one: sums of fractions never quite meet it.
WHOLE = 1.0 - 1e-6


@dataclass(slots=True)
class TokenBucket:
    """``left`` tokens were there ``at`` that time, of ``burst`` at most; ``per_second`` come, none at all where that is 0."""

    burst: float
    per_second: float
    left: float
    at: float

    def wait_seconds(self, now: float) -> float:
        """Until there is a token; 0: now; infinite where none comes."""
        left = self._left(now)
        if left >= WHOLE:
            return 0.0
        return (1.0 - left) / self.per_second if self.per_second else math.inf

    def take(self, now: float) -> None:
        """One token, also where there is none: there is no debt, the next is never further than one."""
        self.left, self.at = max(self._left(now) - 1.0, 0.0), now

    def _left(self, now: float) -> float:
        return min(self.burst, self.left + (now - self.at) * self.per_second)


class Pace:
    """A token bucket a key. What changes rarely is told of at once; what flaps, in batches."""

    def __init__(self, burst: float = BURST, per_second: float = PER_SECOND) -> None:
        self._burst, self._per_second = burst, per_second
        self._buckets: dict[Key, TokenBucket] = {}

    def wait_seconds(self, key: Key) -> float:
        """How long to wait before the next time; 0: now."""
        bucket = self._buckets.get(key)
        return 0.0 if bucket is None else bucket.wait_seconds(_now())

    def did(self, key: Key) -> None:
        """Counts one time."""
        now = _now()
        self._buckets.setdefault(key, TokenBucket(self._burst, self._per_second, self._burst, now)).take(now)

    def forget(self, key: Key) -> None:
        self._buckets.pop(key, None)


def _now() -> float:
    return asyncio.get_running_loop().time()
