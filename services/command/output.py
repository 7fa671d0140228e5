"""Output that may lose its reader, or its room: `knarr down | head -1` removes everything all the same."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


class _Outlet(io.FileIO):
    """A descriptor; what nobody reads any more, or no disk takes, is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def outlast_readers() -> None:
    """From now on, printing never fails, whatever has become of where it leads.

    A standard stream that was closed leads nowhere: what is opened next would get its number, and be taken for it by who is started.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = _outlasting(sys.stdout, 1), _outlasting(sys.stderr, 2)


def _outlasting(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:  # it was closed when Python began
        return open(descriptor, "w", closefd=False)
    if stream not in (sys.__stdout__, sys.__stderr__) or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Outlet(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, line_buffering=stream.line_buffering)
