"""The engine's logs as lines. Pure.

The engine cuts what a container writes into pieces: a line each, or 16 KiB of a longer line. It stamps, counts and (with the log
driver ``local``, the only one that keeps bytes as they are) ends each piece by itself, so that a long line has a stamp every
16 KiB, lacks its end, and is several for ``tail``. Here the pieces are put together again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from services.kubelet.runtime.docker.streams import HEADER
from services.kubelet.runtime.port import STDOUT

PIECE_BYTES = 1 << 14
# As `2026-01-02T15:04:05.000000000Z `, always of this length.
STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")
STAMP_BYTES = 31


class Piece(NamedTuple):
    """``stamp`` is one of the line, not of the piece. ``whole`` tells that nothing of the line is to follow."""

    stream: int
    stamp: bytes
    data: bytes

    @property
    def whole(self) -> bool:
        return len(self.data) < PIECE_BYTES or self.data.endswith(b"\n")


class FramedPieces:
    """Cuts the multiplexed stream of a container without a terminal. Feed it, take the pieces that are complete."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Piece]:
        buffer, at, pieces = self._buffer + data, 0, []
        while len(buffer) - at >= HEADER.size:
            stream, size = HEADER.unpack_from(buffer, at)
            begin, end = at + HEADER.size, at + HEADER.size + size
            if len(buffer) < end:
                break
            pieces.append(Piece(stream, buffer[begin : begin + STAMP_BYTES], buffer[begin + STAMP_BYTES : end]))
            at = end
        self._buffer = buffer[at:]
        return pieces

    def finish(self) -> list[Piece]:
        """A frame that broke off is lost."""
        return []


class RawPieces:
    """Cuts the stream of a container with a terminal, which has no frames: by the stamps."""

    def __init__(self) -> None:
        self._buffer = b""
        self._continues = False

    def feed(self, data: bytes) -> list[Piece]:
        self._buffer += data
        pieces = []
        while (size := self._size()) is not None:
            pieces.append(self._cut(size))
        return pieces

    def finish(self) -> list[Piece]:
        """What is left when the stream ends: a line that was not ended."""
        return [self._cut(len(self._buffer))] if self._buffer else []

    def _size(self) -> int | None:
        """Of the first piece with its stamp; None while that cannot be known."""
        buffer, limit = self._buffer, STAMP_BYTES + PIECE_BYTES
        end = buffer.find(b"\n", STAMP_BYTES, limit)
        if self._continues:
            # The last piece of a long line may lack its end: the next stamp tells.
            stamp = STAMP.search(buffer, STAMP_BYTES, limit + STAMP_BYTES)
            if stamp is not None and (end < 0 or stamp.start() <= end):
                return stamp.start()
            return limit if end < 0 and len(buffer) >= limit + STAMP_BYTES else end + 1 if end >= 0 else None
        if end >= 0:
            return end + 1
        return limit if len(buffer) >= limit else None

    def _cut(self, size: int) -> Piece:
        piece = Piece(STDOUT, self._buffer[:STAMP_BYTES], self._buffer[STAMP_BYTES:size])
        self._buffer = self._buffer[size:]
        self._continues = not piece.whole
        return piece


class Lines:
    """Puts pieces together: one stamp a line, if any, and the end that a long line lost."""

    def __init__(self, *, stamps: bool) -> None:
        self._stamps = stamps
        # The streams in the middle of a line.
        self._open: set[int] = set()

    def join(self, pieces: Iterable[Piece]) -> bytes:
        out = []
        for piece in pieces:
            continues = piece.stream in self._open
            if self._stamps and not continues:
                out.append(piece.stamp)
            out.append(piece.data)
            if piece.whole:
                if continues and not piece.data.endswith(b"\n"):
                    out.append(b"\n")
                self._open.discard(piece.stream)
            else:
                self._open.add(piece.stream)
        return b"".join(out)


def start_of_tail(pieces: Sequence[Piece], lines: int, *, complete: bool) -> int | None:
    """Where the last ``lines`` lines begin; None where more pieces must be seen. ``complete``: there are none before these."""
    known: dict[int, bool] = {}
    starts, in_doubt = [], -1
    for index, piece in enumerate(pieces):
        # Of the first piece of each stream nobody knows whether it begins a line.
        if piece.stream not in known and not complete:
            in_doubt = index
        elif known.get(piece.stream, True):
            starts.append(index)
        known[piece.stream] = piece.whole
    if len(starts) >= lines and in_doubt < starts[-lines]:
        return starts[-lines]
    return 0 if complete else None
