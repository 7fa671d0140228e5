"""Files as block devices of this machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CONTROL = Path("/dev/loop-control")
LOOP_SET_FD, LOOP_CLR_FD, LOOP_CTL_GET_FREE = 0x4C00, 0x4C01, 0x4C82
# Somebody else may take the one that was free.
TRIES = 10


@contextmanager
def loop_device(file: Path) -> Iterator[Path]:
    """A device whose content is that of a file. Skips the test where this machine has none to give."""
    try:
        device, handle = _attached(file)
    except OSError as error:
        pytest.skip(f"this machine gives no loop device: {error}")
    try:
        yield device
    finally:
        fcntl.ioctl(handle, LOOP_CLR_FD)
        os.close(handle)


def _attached(file: Path) -> tuple[Path, int]:
    with CONTROL.open("rb+", buffering=0) as control, file.open("rb+") as content:
        for attempt in range(TRIES):
            device = Path(f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}")
            handle = os.open(device, os.O_RDWR)
            try:
                fcntl.ioctl(handle, LOOP_SET_FD, content.fileno())
            except OSError:
                os.close(handle)
                if attempt == TRIES - 1:
                    raise
            else:
                return device, handle
    raise AssertionError("the last try returns or raises")
