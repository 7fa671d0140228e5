"""What came of a run: what is left over, whether memory grew, and how a command that plays one ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from knarr.service import collector

MEMORY_SHARE = 1.10


@dataclass(frozen=True, slots=True)
class Outcome:
    """Memory is in bytes, once there was what a kubelet keeps for ever, and at the end."""

    seconds: float
    left: list[str]
    memory_before: int
    memory_after: int

    @property
    def grown(self) -> bool:
        return self.memory_after > self.memory_before * MEMORY_SHARE

    def told(self, what: str) -> str:
        """``what`` was played, in words."""
        verdict = "nothing left" if not self.left else f"{len(self.left)} left over"
        memory = f"memory {self.memory_before / 2**20:.1f} → {self.memory_after / 2**20:.1f} MiB{' (grown)' if self.grown else ''}"
        return "\n  ".join([f"{what}, {self.seconds:.0f} s: {verdict}, {memory}", *self.left])


def exit_code(main: Coroutine[Any, Any, Outcome]) -> int:
    """Plays it and prints what came of it."""
    # As where a kubelet is a process.
    collector.share_heap()
    outcome = asyncio.run(main)
    print(outcome)
    return 1 if outcome.left or outcome.grown else 0
