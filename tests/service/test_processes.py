"""What the kernel tells of processes that run, have ended, and were never there."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from knarr.service.processes import lives, stat_fields


def test_who_has_ended_does_not_live_though_nobody_has_asked_for_it_yet() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert lives(process.pid) and lives(str(os.getpid()))
    assert stat_fields(process.pid)[1] == str(os.getpid())
    process.stdin.close()
    until = time.monotonic() + 30
    while stat_fields(process.pid)[:1] != ["Z"]:
        assert time.monotonic() < until
        os.sched_yield()
    assert not lives(process.pid)
    process.wait()
    assert stat_fields(process.pid) == [] and not lives(process.pid)
