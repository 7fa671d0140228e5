"""The contract's log files: their lines, their tails and their names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kubelet.runtime.cri.log_files import generations, log_path, remove_logs, rotated_path
from services.kubelet.runtime.cri.log_lines import entry_of, normal_stamp, tail_start
from services.kubelet.runtime.logs.entries import Entry, Joiner, TailSearch, stamp_of
from services.kubelet.runtime.plan import PodRef

STAMP = b"2026-01-02T15:04:05.000000000Z"
NOW = datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)


def line(words: str, tag: str = "F", stream: str = "stdout") -> bytes:
    return STAMP + f" {stream} {tag} {words}\n".encode()


def written(entries: list[Entry] | None, *, stamps: bool = False) -> bytes:
    return Joiner(stamps=stamps).join(entries or [])


@pytest.mark.parametrize(
    ("given_stamp", "wanted"),
    [
        (STAMP, STAMP),
        (b"2026-01-02T15:04:05Z", STAMP),
        (b"2026-01-02T15:04:05.12Z", b"2026-01-02T15:04:05.120000000Z"),
        (b"2026-01-02T17:04:05.123456789+02:00", b"2026-01-02T15:04:05.123456789Z"),
        (b"2026-01-02T10:04:05-05:00", STAMP),
        (b"2026-01-02T15:04:05.1234567899Z", b"2026-01-02T15:04:05.123456789Z"),
        (b"2026-01-02T15:04:05z", STAMP),
        (b"2026-01-02T15:04:05.1234", b""),
        (b"2026-01-02", b""),
        (b"0001-01-01T00:00:00+09:00", b""),
        (b"yesterday", b""),
    ],
)
def test_stamps_of_any_zone_and_precision_compare_as_bytes(given_stamp: bytes, wanted: bytes) -> None:
    assert normal_stamp(given_stamp) == wanted


def test_a_line_is_taken_apart() -> None:
    assert entry_of(line("a  b ", "F", "stderr")[:-1]) == Entry(2, STAMP, b"a  b ", True)
    assert entry_of(line("", "P")[:-1]) == Entry(1, STAMP, b"", False)
    assert entry_of(line("x", "P:later")[:-1]) == Entry(1, STAMP, b"x", False)
    for broken in (b"", b"half of", STAMP + b" stdin F x", b"never stdout F x"):
        assert entry_of(broken) is None


def test_pieces_are_put_together_with_one_stamp_a_line() -> None:
    lines = line("ab", "P"), line("other", stream="stderr"), line("cd", "P"), line("e"), line("end", "P")
    entries = [found for text in lines if (found := entry_of(text[:-1])) is not None]
    assert written(entries) == b"abother\ncde\nend"
    assert written(entries, stamps=True) == b"%s ab%s other\ncde\n%s end" % (STAMP, STAMP, STAMP)


def test_what_is_earlier_than_asked_for_is_left_out() -> None:
    early, late = Entry(1, STAMP, b"early", True), Entry(1, stamp_of(NOW + timedelta(seconds=1)), b"late", True)
    assert Joiner(stamps=False, since=stamp_of(NOW + timedelta(microseconds=1))).join([early, late]) == b"late\n"
    for moment in (NOW, NOW.replace(year=999), datetime.min.replace(tzinfo=UTC)):
        assert Joiner(stamps=False, since=stamp_of(moment)).join([early, late]) == b"early\nlate\n"


WORDS = st.text(st.characters(codec="ascii", exclude_characters="\n\r"), min_size=1, max_size=30)


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="ascii", exclude_characters="\n\r"), min_size=1, max_size=30), st.booleans()), max_size=20
    ),
    st.integers(0, 25),
    st.integers(1, 70),
)
def test_a_tail_is_the_last_lines_whatever_the_blocks(pieces: list[tuple[str, bool]], wanted: int, block: int) -> None:
    data = b"".join(line(words, "F" if whole else "P") for words, whole in pieces)
    place = tail_start(lambda begin, size: data[begin : begin + size], len(data), TailSearch(wanted), block)
    shown = written([e for text in data[place or 0 :].split(b"\n") if (e := entry_of(text))])
    everything = written([e for text in data.split(b"\n") if (e := entry_of(text))])
    lines = everything.splitlines(keepends=True)
    assert shown == b"".join(lines[-wanted:] if wanted else [])


def test_the_files_of_a_log_are_found_in_their_order_and_go_together(tmp_path: Path) -> None:
    pod = PodRef("default", "web", "uid")
    path = log_path(tmp_path, pod, "app", 1)
    assert path == tmp_path / "default_web_uid" / "app" / "1.log"
    assert generations(path) == []
    path.parent.mkdir(parents=True)
    files = [rotated_path(path, NOW), rotated_path(path, NOW + timedelta(hours=1)), path]
    for file in (*reversed(files), path.with_name("11.log"), path.with_name("10.log.20260102-150405.000000")):
        file.touch()
    assert generations(path) == files
    remove_logs(tmp_path, pod, "app", 1)
    assert sorted(file.name for file in path.parent.iterdir()) == ["10.log.20260102-150405.000000", "11.log"]
