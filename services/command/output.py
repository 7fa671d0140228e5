"""Output that may lose its reader, or its room: `knarr down | head -1` removes everything all the same."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from knarr.service.errors import CommandError


class _Outlet(io.FileIO):
    """A descriptor; what nobody reads any more, or no disk takes, is dropped. ``loss``: why the last was not taken."""

    loss: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return memoryview(data).nbytes
        except OSError as error:
            self.loss = error
            return memoryview(data).nbytes


def deliver(text: str) -> None:
    """Prints what a command was called for. CommandError where no disk takes it; who reads no more has had enough."""
    print(text, flush=True)
    outlet = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(outlet, _Outlet) and outlet.loss is not None:
        raise CommandError(f"standard output: {outlet.loss.strerror}")


@contextmanager
def answering(output: str) -> Iterator[dict[str, object]]:
    """For a command that does something: what it puts here is delivered to a program that asked for JSON, once all is done; what is printed
    for a person goes beside it then."""
    facts: dict[str, object] = {}
    if output != "json":
        yield facts
        return
    with redirect_stdout(sys.stderr):
        yield facts
    deliver(json.dumps(facts, indent=2))


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
