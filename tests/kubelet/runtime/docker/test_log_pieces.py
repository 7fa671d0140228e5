"""Lines put together from the engine's pieces."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kubelet.runtime.docker.log_pieces import PIECE_BYTES, FramedPieces, Lines, Piece, RawPieces, start_of_tail
from services.kubelet.runtime.docker.streams import HEADER


def stamp(second: int) -> bytes:
    return b"2026-01-02T03:%02d:%02d.000000000Z " % (second // 60, second % 60)


class Written(NamedTuple):
    """What a container wrote at one moment, as the engine keeps it."""

    stream: int
    line: bytes


def pieces_of(written: list[Written], *, keeps_ends: bool) -> list[Piece]:
    """As the engine cuts it. ``keeps_ends``: as its driver `json-file` does; `local` loses the end of a line of several pieces."""
    pieces = []
    for second, (stream, line) in enumerate(written):
        content = line.removesuffix(b"\n")
        parts = [content[at : at + PIECE_BYTES] for at in range(0, len(content) + 1, PIECE_BYTES)]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1 and line.endswith(b"\n") and (keeps_ends or len(parts) == 1)
            pieces.append(Piece(stream, stamp(second), part + (b"\n" if last else b"")))
    return pieces


def framed(pieces: list[Piece]) -> bytes:
    return b"".join(HEADER.pack(piece.stream, len(piece.stamp + piece.data)) + piece.stamp + piece.data for piece in pieces)


SIZES = st.sampled_from([0, 1, 5, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 40_000])
# A length and a byte each.
LINES = st.lists(st.tuples(SIZES, st.sampled_from(b"AB\xc7\xff")), max_size=6)


@settings(deadline=None, max_examples=50)
@given(content=LINES, cut=st.sampled_from([499, 4096, 20_011]), keeps_ends=st.booleans(), terminal=st.booleans())
def test_bytes_come_out_as_they_went_in_with_one_stamp_a_line(
    content: list[tuple[int, int]], cut: int, keeps_ends: bool, terminal: bool
) -> None:
    lines = [bytes([letter]) * size + b"\n" for size, letter in content]
    pieces = pieces_of([Written(1, line) for line in lines], keeps_ends=keeps_ends)
    data = b"".join(piece.stamp + piece.data for piece in pieces) if terminal else framed(pieces)
    for stamps in (False, True):
        cutter = RawPieces() if terminal else FramedPieces()
        joiner, out = Lines(stamps=stamps), b""
        for at in range(0, len(data), cut):
            out += joiner.join(cutter.feed(data[at : at + cut]))
        out += joiner.join(cutter.finish())
        assert out == b"".join((stamp(second) if stamps else b"") + line for second, line in enumerate(lines))


def test_a_last_line_without_an_end_gets_none() -> None:
    pieces = pieces_of([Written(1, b"first\n"), Written(1, b"last")], keeps_ends=False)
    assert Lines(stamps=False).join(pieces) == b"first\nlast"


def test_a_long_line_is_not_torn_by_the_other_stream() -> None:
    long = pieces_of([Written(1, b"A" * 20_000 + b"\n")], keeps_ends=False)
    other = Piece(2, stamp(7), b"oops\n")
    assert Lines(stamps=True).join([long[0], other, long[1]]).count(b"2026-") == 2


@pytest.mark.parametrize("keeps_ends", [True, False])
def test_the_tail_is_counted_in_lines(keeps_ends: bool) -> None:
    written = [
        Written(1, b"0\n"),
        Written(1, b"A" * 50_000 + b"\n"),
        Written(2, b"e\n"),
        Written(1, b"B" * 20_000 + b"\n"),
        Written(1, b"end"),
    ]
    pieces = pieces_of(written, keeps_ends=keeps_ends)
    counts = [sum(piece.stamp == stamp(second) for piece in pieces) for second in range(len(written))]
    for lines in range(1, 7):
        start = start_of_tail(pieces, lines, complete=True)
        assert start == sum(counts[: max(len(written) - lines, 0)])
    # Seen from the middle of the first long line nobody knows where that began.
    part = pieces[2:]
    assert start_of_tail(part, 1, complete=False) == len(part) - 1
    assert start_of_tail(part, 5, complete=False) is None
