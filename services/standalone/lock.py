"""The lock on a data directory: who may change what lies there, one at a time.

A command holds it while it works. `knarr up` hands it on to the cluster's process, which holds it for as long as it lives: the kernel
lets it go when the last who holds it ends, however that comes. It is a lock on the directory itself, so there is no file to be left behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from knarr.service.errors import CommandError

POLL_SECONDS = 0.02


class Busy(CommandError):
    """Somebody else holds the directory."""

    def __init__(self, root: Path) -> None:
        super().__init__(f"another knarr command is at work in {root}; wait until it has ended, then try again")


@contextmanager
def held(root: Path, *, wait_seconds: float = 0.0, meanwhile: Callable[[], object] = lambda: None) -> Iterator[int]:
    """Holds a directory, which must exist; Busy when it cannot be had in time. ``meanwhile`` is called again and again while it waits.

    Yields the descriptor by which it is held: a process that inherits it goes on holding the directory.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + wait_seconds
        while not _take(descriptor):
            if time.monotonic() >= deadline:
                raise Busy(root)
            meanwhile()
            time.sleep(POLL_SECONDS)
        if not _is_at(descriptor, root):
            # Whoever held it has removed it, or put another in its place.
            raise Busy(root)
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(root: Path) -> bool:
    """Whether somebody holds a directory at this moment."""
    try:
        with held(root):
            return False
    except Busy:
        return True


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, root: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), root.stat())
    except FileNotFoundError:
        return False
