"""Where the work on the node's files and mounts is done.

What a kubelet mounts or looks for must be what its engine sees. A kubelet in a container of its own has other mounts;
it does this work in threads that have joined those of a process of the machine. Modules are imported before: such
a thread does not see where they lie.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
THREADS = 4
_libc = ctypes.CDLL(None, use_errno=True)

P = ParamSpec("P")
R = TypeVar("R")


class NodeFiles:
    """Runs blocking work beside the event loop, with the mounts of ``process_id``; 0: with our own."""

    def __init__(self, process_id: int = 0) -> None:
        self._process_id = process_id
        self._joined = threading.local()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="node-files") if process_id else None

    @property
    def elsewhere(self) -> bool:
        """Whether the node's mounts are not our own."""
        return self._threads is not None

    async def call(self, work: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
        """The result of ``work``; raises OSError when the mounts cannot be joined."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: self._with_mounts(work, *arguments, **options))

    def _with_mounts(self, work: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
        if self._process_id and not getattr(self._joined, "done", False):
            join_mounts(self._process_id)
            self._joined.done = True
        return work(*arguments, **options)

    def close(self) -> None:
        """Ends the threads; work that has begun is finished."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)


class NoFiles(NodeFiles):
    """Of a node that lays no files: whatever is asked has nothing to wait for, and is done where it is asked."""

    async def call(self, work: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
        return work(*arguments, **options)


def join_mounts(process_id: int) -> None:
    """Gives the calling thread the mounts of a process for good; raises OSError. Needs SYS_ADMIN, SYS_CHROOT and SYS_PTRACE."""
    try:
        with Path(f"/proc/{process_id}/ns/mnt").open("rb") as namespace:
            # A thread of several can change its mounts only when its root and working directory are its own.
            _check(_libc.unshare(CLONE_FS))
            _check(_libc.setns(namespace.fileno(), CLONE_NEWNS))
    except OSError as error:
        raise OSError(error.errno, f"cannot join the mounts of process {process_id}: {error.strerror}") from error


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
