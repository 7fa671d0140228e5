"""Blocks of PEM: what is read of a text, and what is passed over."""

from __future__ import annotations

import time

import pytest

from knarr.objects.pem import Block, blocks, encoded

ONE, OTHER = encoded("CERTIFICATE", b"one"), encoded("PRIVATE KEY", bytes(range(200)))
HEADED = ONE.replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("no block", []),
        (ONE + OTHER, [Block("CERTIFICATE", b"one"), Block("PRIVATE KEY", bytes(range(200)))]),
        ("# a remark\n" + ONE.replace("\n", "\r\n") + "\nanother\n" + ONE, [Block("CERTIFICATE", b"one")] * 2),
        (HEADED, [Block("CERTIFICATE", b"one", has_headers=True)]),
        (ONE.replace("b25l", "b25") + OTHER, [Block("PRIVATE KEY", bytes(range(200)))]),
        (ONE.replace("END CERTIFICATE", "END KEY") + ONE, [Block("CERTIFICATE", b"one")]),
        ("-----BEGIN CERTIFICATE-----\nbm90\n" + ONE, [Block("CERTIFICATE", b"one")]),
        ("-----BEGIN CERTIFICATE-----\nb25l", []),
        (ONE.rstrip(), [Block("CERTIFICATE", b"one")]),
    ],
    ids=["empty", "none", "two", "between", "headers", "damaged", "other-end", "begun-twice", "cut-short", "no-line-end"],
)
def test_what_is_read(text: str, found: list[Block]) -> None:
    assert list(blocks(text)) == found


def test_no_line_is_longer_than_others_take() -> None:
    assert max(map(len, OTHER.splitlines())) == 64 and OTHER.endswith("\n")


def test_a_text_of_beginnings_takes_no_longer_than_another() -> None:
    def seconds(text: str) -> float:
        begun = time.process_time()
        assert not list(blocks(text))
        return time.process_time() - begun

    size = 1_000_000
    plain, begins = "a" * 27 + "\n", "-----BEGIN CERTIFICATE-----\n"
    assert seconds(begins * (size // len(begins))) < 20 * seconds(plain * (size // len(plain))) + 0.5
