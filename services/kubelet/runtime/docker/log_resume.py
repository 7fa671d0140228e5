"""Going on with a log where the engine broke it off. Pure.

While an engine's files are rotated under whoever follows them, it may lose its place: it says so among the output, ends the stream as
if the container had ended, or gives nothing more. What was read is known by its stamps, so the log is asked for anew from there on.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from services.kubelet.runtime.docker.log_pieces import Piece

# The engine stamps each stream by itself and may write a later stamp first, by the moments that its own threads wait for one another.
DISORDER = timedelta(milliseconds=250)
STREAMS = 2
# As much of a stamp as tells microseconds.
MICROSECONDS = 26
BROKEN = b"Error grabbing logs: "
# Of the engine's own words among a container's output.
SYSTEM_ERROR = 3


def broken_by(piece: Piece) -> str:
    """Why the engine does not go on, in its words; empty for a piece of the container's output."""
    words = piece.stamp + piece.data
    if piece.stream == SYSTEM_ERROR or words.startswith(BROKEN):
        return words.decode(errors="replace").strip().removeprefix(BROKEN.decode())
    return ""


class Delivered:
    """What of a log was passed on: of each stream the last stamp, and how many pieces had it."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[bytes, int]] = {}
        self._before: dict[int, tuple[bytes, int]] = {}

    def resume(self) -> bytes:
        """The log is about to be read anew: answers the stamp to read from, empty for the same as before."""
        self._before = dict(self._last)
        if not self._last:
            return b""
        stamps = sorted(stamp for stamp, _ in self._last.values())
        # Of a stream that nothing was read of, something may have been written by then, too.
        earliest = stamps[0] if len(stamps) == STREAMS else b""
        return max(earliest, _earlier(stamps[-1]))

    @property
    def newest(self) -> bytes:
        """The last stamp of all; empty where nothing was passed on."""
        return max((stamp for stamp, _ in self._last.values()), default=b"")

    def take(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Those that were not passed on yet; from now on they are."""
        return [piece for piece in pieces if self._is_new(piece)]

    def _is_new(self, piece: Piece) -> bool:
        stamp, count = self._before.get(piece.stream, (b"", 0))
        if piece.stamp < stamp:
            return False
        if piece.stamp == stamp and count:
            self._before[piece.stream] = (stamp, count - 1)
            return False
        last, times = self._last.get(piece.stream, (b"", 0))
        self._last[piece.stream] = (piece.stamp, times + 1 if piece.stamp == last else 1)
        return True


def _earlier(stamp: bytes) -> bytes:
    """By DISORDER; what is below a microsecond stays."""
    moment = datetime.fromisoformat(stamp[:MICROSECONDS].decode()) - DISORDER
    return moment.isoformat(timespec="microseconds").encode() + stamp[MICROSECONDS:]
