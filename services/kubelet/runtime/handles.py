"""Handles of containers' processes: whoever gets the number of one that has ended meanwhile is not met."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from services.kubelet.proc import PROC


@contextmanager
def held(pid: int, container_id: str) -> Iterator[int]:
    """A handle until the end of the block. Raises ProcessLookupError where the process is gone or of another container (or sandbox), and
    another OSError where it cannot be held."""
    handle = os.pidfd_open(pid)
    try:
        if container_id not in _groups(pid):
            raise ProcessLookupError(f"process {pid} is not of {container_id}")
        yield handle
    finally:
        os.close(handle)


def _groups(pid: int) -> str:
    """What tells whose a process is."""
    try:
        return (PROC / str(pid) / "cgroup").read_text()
    except FileNotFoundError as error:
        raise ProcessLookupError(f"process {pid} is gone") from error
