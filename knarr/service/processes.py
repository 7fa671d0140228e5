"""Processes of the machine, as the kernel tells of them."""

from __future__ import annotations

from pathlib import Path

ZOMBIE = "Z"


def stat_fields(pid: int | str) -> list[str]:
    """Those of /proc/PID/stat behind the name, from the state on; none where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def lives(pid: int | str) -> bool:
    """One that nobody has asked for yet after its end does not."""
    return stat_fields(pid)[:1] not in ([], [ZOMBIE])
