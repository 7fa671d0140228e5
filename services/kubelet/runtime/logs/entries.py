"""What a container wrote, as the files of a log have it: piece by piece. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from services.kubelet.runtime.port import STDERR, STDOUT


class Entry(NamedTuple):
    """``stamp`` is in UTC, of one length, so that stamps compare as bytes. ``whole`` tells that the line ends here, with a newline that
    ``data`` has not."""

    stream: int
    stamp: bytes
    data: bytes
    whole: bool


def stamp_of(moment: datetime) -> bytes:
    """A time as a stamp."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}000Z".encode()


class Joiner:
    """Puts pieces together again: the container's bytes, each line with one stamp if any. ``since`` leaves out what is earlier, ``stream``
    the other one."""

    def __init__(self, *, stamps: bool, since: bytes = b"", stream: int | None = None) -> None:
        self._stamps, self._since = stamps, since
        self._left_out = {STDOUT, STDERR} - {stream} if stream else set()
        # The streams in the middle of a line.
        self._open: set[int] = set()

    def join(self, entries: Iterable[Entry]) -> bytes:
        out: list[bytes] = []
        for stream, stamp, data, whole in entries:
            if stamp < self._since or stream in self._left_out:
                continue
            if self._stamps and stream not in self._open:
                out += stamp, b" "
            out.append(data)
            if whole:
                out.append(b"\n")
                self._open.discard(stream)
            else:
                self._open.add(stream)
        return b"".join(out)


class TailSearch:
    """Finds where the last ``lines`` lines begin, by being shown the entries of a log from its end on."""

    def __init__(self, lines: int) -> None:
        self._wanted, self._seen, self._first = lines, 0, True

    def ends_before(self, *, whole: bool) -> bool:
        """Whether the tail begins behind this entry."""
        if whole or self._first:
            if self._seen == self._wanted:
                return True
            self._seen += 1
        self._first = False
        return False
