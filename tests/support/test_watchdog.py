"""A test that swallows its own limit ends its process, and only that: the run names it, and the tests beside it are run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HANGING = """
from tests.support import watchdog

watchdog.GRACE_SECONDS = 0.2

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
