"""How long to wait before trying again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

_SOURCE = random.Random()


def repeat(seed: int) -> None:
    """What is left to chance in this process's delays is from now on the same as each time with this seed: for simulations."""
    _SOURCE.seed(seed)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential: ``first_seconds`` × ``factor`` per failure, at most ``limit_seconds``.

    ``jitter`` is the share of the delay that is random: 0.5 gives between half and all of it.
    """

    first_seconds: float = 0.005
    limit_seconds: float = 960.0
    factor: float = 2.0
    jitter: float = 0.0
    source: random.Random = field(default=_SOURCE, repr=False, compare=False)

    def delay(self, failures: int) -> float:
        """Seconds to wait after that many failures in a row (1 is the first)."""
        exponent = min(max(failures, 1) - 1, 60)
        delay = min(self.first_seconds * self.factor**exponent, self.limit_seconds)
        return delay * (1 - self.jitter * self.source.random()) if self.jitter else delay
