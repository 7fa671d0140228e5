"""Signals to the processes of containers, from the node."""

from __future__ import annotations

import signal

from services.kubelet.runtime.handles import held


def send_signal(pid: int, container_id: str, number: int) -> bool:
    """Whether there was somebody of that container to hear it."""
    try:
        with held(pid, container_id) as handle:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    return True


def signal_name(text: str) -> str:
    """As ``SIGTERM``, which is what an engine sends where nobody says otherwise; images may say ``TERM`` or ``15``."""
    try:
        return signal.Signals(int(text)).name if text.isdecimal() else f"SIG{(text or 'TERM').upper().removeprefix('SIG')}"
    except ValueError:
        return text
