"""What gateways leave that were killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.gateway.haproxy import process as own
from services.standalone.lock import held


def test_a_folder_is_forgotten_when_its_process_is_gone_and_nobody_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds it may be where his process is not to be seen from here."""
    monkeypatch.setattr(own, "RUN", tmp_path)
    mine, left, others = (tmp_path / f"{own.PREFIX}{pid}-0" for pid in (os.getpid(), 999_999_998, 999_999_999))
    for folder in (mine, left, others, tmp_path / f"{own.PREFIX}x-0"):
        folder.mkdir()
    with held(others):
        assert own.forgotten() == [left]
    assert sorted(own.forgotten()) == [left, others]
    own.remove_forgotten()
    assert mine.is_dir() and not left.exists() and not others.exists()
