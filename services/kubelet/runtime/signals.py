"""Signals to the processes of containers, from the node."""

from __future__ import annotations

import os
import signal
from pathlib import Path

PROC = Path("/proc")


def send_signal(pid: int, container_id: str, number: int) -> bool:
    """Whether there was somebody of that container to hear it. By a handle, so that nobody who has got the same number meanwhile is met."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if container_id not in (PROC / str(pid) / "cgroup").read_text():
            return False
        signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, FileNotFoundError):
        return False
    finally:
        os.close(handle)
    return True


def signal_name(text: str) -> str:
    """As ``SIGTERM``, which is what an engine sends where nobody says otherwise; images may say ``TERM`` or ``15``."""
    try:
        return signal.Signals(int(text)).name if text.isdecimal() else f"SIG{(text or 'TERM').upper().removeprefix('SIG')}"
    except ValueError:
        return text
