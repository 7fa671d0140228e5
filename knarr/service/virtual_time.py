"""An event loop whose clock jumps: hours of waiting pass in milliseconds, in the same order. For simulations, and for tests.

When nothing is ready to run, the loop sets its clock to the next timer instead of sleeping. File descriptors are still polled, so
sockets work, but a timeout always beats them: use it for code that waits on timers and other tasks only. A thread is such a
descriptor, too: where nothing may depend on how fast the machine is, ``SoleVirtualLoop`` has none.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from knarr.client.clock import Clock

START = datetime(2026, 1, 1, tzinfo=UTC)
STALLED_AFTER_SECONDS = 10.0
LIMIT_SECONDS = 48 * 3600.0


class _JumpingSelector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(STALLED_AFTER_SECONDS)
            if not ready:
                raise RuntimeError("nothing is left to happen: every task waits and no timer is set")
            return ready
        self.now += max(timeout, 0.0)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop that starts at second 0 and skips idle time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def hold(self, seconds: float) -> None:
        """As if what runs now took so long: all timers are late by it."""
        self._jumping.now += seconds


class SoleVirtualLoop(VirtualTimeLoop):
    """One without threads: what would be done in one is done at once, so that the same happens each time."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class VirtualClock(Clock):
    """The time of day on the running virtual loop: ``START`` plus the loop's seconds, plus those that this machine has ``slept``."""

    def __init__(self) -> None:
        self.slept = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed())

    def elapsed(self) -> float:
        return asyncio.get_running_loop().time() + self.slept


def run(main: Coroutine[Any, Any, Any], *, limit_seconds: float = LIMIT_SECONDS, loop: type[VirtualTimeLoop] = VirtualTimeLoop) -> Any:
    """Runs a coroutine on a fresh virtual-time loop, as ``asyncio.run`` does on a real one; so many virtual seconds at most."""

    async def bounded() -> Any:
        async with asyncio.timeout(limit_seconds):
            return await main

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(bounded())
