"""A person at a terminal sees that a long command works; nobody else does."""

from __future__ import annotations

import io
import threading

import pytest

from services.command import working
from services.command.working import Working


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(working, "PATIENCE_SECONDS", 0.0)
    before = set(threading.enumerate())
    with Working("copying", "MB", 1e6) as progress:
        for timer in set(threading.enumerate()) - before:
            if isinstance(timer, threading.Timer):
                timer.join()
        progress(1_000_000, 2_000_000)
    return stream.getvalue()


def test_on_a_terminal_it_is_told_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, Terminal())
    assert "copying" in text
    assert "1 of 2 MB" in text


def test_elsewhere_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO()) == ""


def test_what_is_done_soon_needs_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with Working("copying"):
        pass
    assert terminal.getvalue() == ""
