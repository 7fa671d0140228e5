"""One command at a time in a data directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.standalone.lock import Busy, held


def test_who_comes_second_is_told(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(Busy, match=f"another knarr command is at work in {tmp_path}; wait"), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_a_process_that_inherits_the_lock_holds_it_until_it_ends(tmp_path: Path) -> None:
    with held(tmp_path) as lock:
        heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    with pytest.raises(Busy), held(tmp_path):
        pass
    # However it ends.
    heir.kill()
    heir.communicate()
    with held(tmp_path):
        pass


def test_a_child_that_is_not_handed_the_lock_does_not_hold_it(tmp_path: Path) -> None:
    with held(tmp_path):
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with held(tmp_path):
        other.communicate(b"\n")


def test_waiting_ends_when_it_is_let_go(tmp_path: Path) -> None:
    with held(tmp_path) as lock:
        heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    assert heir.stdin is not None
    heir.stdin.close()
    with held(tmp_path, wait_seconds=30.0):
        assert heir.wait() != 0
