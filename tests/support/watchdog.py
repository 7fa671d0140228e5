"""Ends a process of tests that hangs where the limit of a test's time did not: what stands still says where, and the others go on.

The limit is an exception raised by a signal in whatever runs just then. uvloop logs it and goes on, and so does asyncio where a callback is
what runs: the test waits on, for ever. So some time after the limit the process tells where each of its threads stands, and ends at once.
pytest-xdist takes another process for the tests that are left and calls the one that hung failed.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator

import pytest

# What a test's own end may take once the limit has ended it.
GRACE_SECONDS = 60.0


class Watchdog:
    """A plugin of pytest. To be made before the output of tests is captured: what it tells goes where the run's own words go."""

    def __init__(self, config: pytest.Config) -> None:
        self._stderr = os.dup(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2)
        self._standard = config.getoption("timeout", None)
        if self._standard is None:
            self._standard = float(config.getini("timeout") or 0)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        limit = self.limit(item)
        if limit:
            faulthandler.dump_traceback_later(limit + GRACE_SECONDS, exit=True, file=self._stderr)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def limit(self, item: pytest.Item) -> float:
        """The seconds that a test may take, 0 where it may take any time (as in a debugger, by ``--timeout 0``)."""
        marker = item.get_closest_marker("timeout")
        if self._standard and marker is not None and marker.args:
            return float(marker.args[0])
        return float(self._standard)
