"""The files of the driver ``local``: records, also where some of them are broken."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kubelet.runtime.docker.log_records import LocalLog
from services.kubelet.runtime.logs.entries import Entry, Joiner, TailSearch
from tests.kubelet.runtime.logs.log_engines import RecordEngine

# As an engine wrote them: two lines, and one of 40,004 bytes in three pieces, of which the first and the last are here, and a line without
# its end.
HEAD = b"\n\x06stdout\x10\xc8\xf8\xd0\x8b\xc3\xc7\xb1\xf6\x18\x1a"
TAIL = b" \x01*D\x12@558a3b092e95de606687acf5a9c6b19e93e29d42acee77f298e15ab28ba372e1\x18\x01"
FROM_AN_ENGINE = (
    b"\x00\x00\x00\x16\n\x06stdout\x10\xaf\x8e\x91\x8b\xc3\xc7\xb1\xf6\x18\x1a\x02hi\x00\x00\x00\x16"
    b"\x00\x00\x00\x17\n\x06stderr\x10\xb8\xf6\x94\x8b\xc3\xc7\xb1\xf6\x18\x1a\x03err\x00\x00\x00\x17"
    b"\x00\x00@^" + HEAD + b"\x80\x80\x01" + b"A" * 16384 + TAIL + b"\x00\x00@^"
    b"\x00\x00\x1c\xa2" + HEAD + b"\xc38" + b"A" * 7232 + b"END"
    b" \x01*F\x08\x01\x12@558a3b092e95de606687acf5a9c6b19e93e29d42acee77f298e15ab28ba372e1\x18\x03\x00\x00\x1c\xa2"
    b"\x00\x00\x00`\n\x06stdout\x10\xc0\xe3\xeb\xa3\xc3\xc7\xb1\xf6\x18\x1a\x04tail"
    b" \x01*D\x12@538c10c5c1a681d45163dbfe07cf46771ecab17af06c7d2220336035254d0b05\x18\x01\x00\x00\x00`"
)
LOG = LocalLog(Path("container.log"))


def cut(data: bytes, step: int) -> tuple[list[Entry], bytes]:
    entries, rest = [], b""
    for place in range(0, len(data), step):
        found, rest = LOG.cut(rest + data[place : place + step])
        entries += found
    return entries, rest


def tail(data: bytes, lines: int) -> bytes:
    place = LOG.tail_start(lambda begin, size: data[begin : begin + size], len(data), TailSearch(lines))
    return Joiner(stamps=False).join(LOG.cut(data[place or 0 :])[0])


@pytest.mark.parametrize("step", [1 << 20, 977, 1])
def test_what_an_engine_wrote_comes_out_as_it_went_in(step: int) -> None:
    entries, rest = cut(FROM_AN_ENGINE, step)
    assert rest == b""
    assert Joiner(stamps=False).join(entries) == b"hi\nerr\n" + b"A" * (16384 + 7232) + b"END\ntail"
    stamped = Joiner(stamps=True).join(entries).splitlines()
    assert [line[:31] for line in stamped] == [entry.stamp + b" " for entry in (entries[0], entries[1], entries[2], entries[4])]
    assert entries[0].stamp == b"2026-11-30T08:45:13.242978095Z"
    assert [entry.stream for entry in entries] == [1, 2, 1, 1, 1]


def test_the_tail_of_what_an_engine_wrote() -> None:
    lines = [b"hi\n", b"err\n", b"A" * (16384 + 7232) + b"END\n", b"tail"]
    for count in range(6):
        assert tail(FROM_AN_ENGINE, count) == b"".join(lines[max(0, 4 - count) :])


PIECES = st.lists(st.tuples(st.binary(max_size=40), st.booleans(), st.sampled_from([1, 2])), max_size=20)


@given(pieces=PIECES, lines=st.integers(0, 25), step=st.integers(1, 200))
def test_entries_and_tails_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[bytes, bool, int]], lines: int, step: int
) -> None:
    with closing(RecordEngine(tmp_path_factory.mktemp("log"))) as engine:
        data = b"".join(engine.bytes_of(words, whole=whole, stream=stream) for words, whole, stream in pieces)
    entries, rest = cut(data, step)
    assert rest == b"" and [(entry.data, entry.whole, entry.stream) for entry in entries] == pieces
    ends = [place for place, (_, whole, _) in enumerate(pieces) if whole or place == len(pieces) - 1]
    begin = ends[-lines - 1] + 1 if lines < len(ends) else 0
    assert tail(data, lines) == Joiner(stamps=False).join(entries[begin:] if lines else [])


@pytest.mark.parametrize("seed", range(50))
def test_half_a_record_costs_no_other(tmp_path: Path, seed: int) -> None:
    """A full disk, or a killed engine, leaves one cut short; what is written later comes right behind it."""
    chosen = random.Random(seed)
    with closing(RecordEngine(tmp_path)) as engine:
        data, kept = b"", []
        for number in range(60):
            words = str(number).encode() * chosen.randint(1, 400)
            record = engine.bytes_of(words)
            # The record behind the last broken one tells that it is broken once there is as much as it said.
            if chosen.random() < 0.2 and number < 40:
                data += record[: chosen.randint(0, len(record) - 1)]
            else:
                data += record
                kept.append(words)
        unfinished = engine.bytes_of(b"unfinished")[: chosen.randint(0, 20)]
    entries, _ = cut(data + unfinished, chosen.choice([50, 1000, 1 << 20]))
    assert [entry.data for entry in entries] == kept
    for lines in (1, 5, 30, 60):
        assert tail(data + unfinished, lines) == b"".join(words + b"\n" for words in kept[-lines:])


def test_noise_is_no_record() -> None:
    noise = random.Random(7).randbytes(200_000)
    assert LOG.cut(noise)[0] == [] and tail(noise, 5) == b""
    good = FROM_AN_ENGINE[:30]
    entries, _ = LOG.cut(b"\xff" * 100_000 + good)
    assert [entry.data for entry in entries] == [b"hi"]
