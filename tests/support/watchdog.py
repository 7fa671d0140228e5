"""Ends a process of tests that hangs where the limit of a test's time did not: what stands still says where, and the others go on.

The limit is an exception raised by a signal in whatever runs just then. uvloop logs it and goes on, and so does asyncio where a callback is
what runs: the test waits on, for ever. So some time after the limit the process tells where each of its threads stands, and ends at once.
pytest-xdist takes another process for the tests that are left and calls the one that hung failed.

The alarm is a thread of its own, and to begin and end one for each of twenty thousand tests took longer than many of them, most of all on a
busy machine: one alarm serves all that end in good time before it.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time

import pytest

# What a test's own end may take once the limit has ended it.
GRACE_SECONDS = 60.0
# How much later than at that time the process may end.
SLACK_SECONDS = 60.0


class Watchdog:
    """A plugin of pytest. To be made before the output of tests is captured: what it tells goes where the run's own words go."""

    def __init__(self, config: pytest.Config) -> None:
        self._stderr = os.dup(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2)
        self._standard = config.getoption("timeout", None)
        if self._standard is None:
            self._standard = float(config.getini("timeout") or 0)

        # When the alarm goes off, in seconds of the monotonic clock; 0 where none is set.
        self._alarm = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        limit = self.limit(item)
        if not limit:
            self._still()
            return
        soonest = time.monotonic() + limit + GRACE_SECONDS
        if not soonest <= self._alarm <= soonest + SLACK_SECONDS:
            faulthandler.dump_traceback_later(limit + GRACE_SECONDS + SLACK_SECONDS, exit=True, file=self._stderr)
            self._alarm = soonest + SLACK_SECONDS

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._still()

    def _still(self) -> None:
        if self._alarm:
            faulthandler.cancel_dump_traceback_later()
            self._alarm = 0.0

    def limit(self, item: pytest.Item) -> float:
        """The seconds that a test may take, 0 where it may take any time (as in a debugger, by ``--timeout 0``)."""
        marker = item.get_closest_marker("timeout")
        if self._standard and marker is not None and marker.args:
            return float(marker.args[0])
        return float(self._standard)
