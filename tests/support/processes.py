"""Processes that tests start, ended by their id."""

from __future__ import annotations

import signal
import subprocess


def end(process: subprocess.Popen[bytes], number: signal.Signals, seconds: float) -> None:
    """Sends a signal, also to one that was stopped, and waits; one that stays for longer than ``seconds`` is killed."""
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(seconds)
