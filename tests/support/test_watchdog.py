"""A test that swallows its own limit ends its process, and only that: the run names it, and the tests beside it are run."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support import watchdog
from tests.support.set_clock import SetClock

ROOT = Path(__file__).parents[2]
HANGING = """
from tests.support import watchdog

watchdog.GRACE_SECONDS = watchdog.SLACK_SECONDS = 0.2

def pytest_configure(config):
    config.pluginmanager.register(watchdog.Watchdog(config))
"""
TESTS = """
import time

def test_before():
    pass

def test_that_stands_still():
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            pass

def test_after():
    pass
"""


def alarms(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of those that a watchdog sets, 0 where it takes one back."""
    found: list[float] = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda seconds, **options: found.append(seconds))
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: found.append(0.0))
    return found


def test_an_alarm_serves_the_tests_that_end_before_it(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    dog, found, clock = watchdog.Watchdog(pytestconfig), alarms(monkeypatch), SetClock()
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=clock.elapsed))
    limits = iter((120.0, 120.0, 120.0, 300.0, 120.0, 0.0, 120.0))
    monkeypatch.setattr(dog, "limit", lambda item: next(limits))

    def begins(*after: float) -> list[float]:
        """What is set for tests that begin so many seconds after one another."""
        found.clear()
        for seconds in after:
            clock.move(seconds)
            dog.pytest_runtest_protocol(cast("pytest.Item", None))
        return list(found)

    assert begins(0, 60) == [240]
    # It would come too soon.
    assert begins(1) == [240]
    # So it would for a longer test, and after that one too late.
    assert begins(1) == [420]
    assert begins(1) == [240]
    assert begins(1) == [0]
    assert begins(1) == [240]
    dog.pytest_sessionfinish()
    assert found == [240, 0]


def test_what_hangs_is_named_and_the_others_are_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HANGING)
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "xdist.plugin",
        "-p",
        "pytest_timeout",
        "-n1",
        "--timeout=0.5",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "1 failed, 2 passed" in done.stdout
    assert "test_that_stands_still" in done.stdout
    # Where it stood.
    assert "in test_that_stands_still" in done.stderr
