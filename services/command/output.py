"""Output that may lose its reader: `knarr down | head -1` removes everything all the same."""

from __future__ import annotations

import io
import sys
from typing import Any, TextIO


class _Outlet(io.FileIO):
    """A descriptor; what nobody reads any more is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return memoryview(data).nbytes


def outlast_readers() -> None:
    """From now on, printing never fails because the reader of a pipe has gone."""
    sys.stdout, sys.stderr = _outlasting(sys.stdout), _outlasting(sys.stderr)


def _outlasting(stream: TextIO) -> TextIO:
    if stream not in (sys.__stdout__, sys.__stderr__) or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Outlet(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, line_buffering=stream.line_buffering)
