"""JSON with what is no character: U+FFFD stands for it, as in Go."""

from __future__ import annotations

import orjson
import pytest

from knarr.machinery.json_text import read_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"a"', "a"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\ud800"', "\ufffd"),
        (rb'"x\udc00y"', "x\ufffdy"),
        (rb'"\uD800\uD800"', "\ufffd\ufffd"),
        (rb'"\ud83d\ude00\ud83d"', "\U0001f600\ufffd"),
        (rb'"\\ud800 \ud800"', "\\ud800 \ufffd"),
        (rb'"\\\ud800"', "\\\ufffd"),
        (b'"\xff"', "\ufffd"),
        (b'"\xed\xa0\x80"', "\ufffd\ufffd\ufffd"),
        (b'"\xe2\x82 \xf0\x9f\x98"', "\ufffd\ufffd \ufffd\ufffd\ufffd"),
        (b'{"\xff": "\\udfff"}', {"\ufffd": "\ufffd"}),
    ],
)
def test_half_a_character_is_read_as_none(text: bytes, value: object) -> None:
    found, readable = read_json(text)
    assert found == value
    assert orjson.loads(readable) == value


@pytest.mark.parametrize("text", [b"", b"{", rb'{"a": "\ud800"', rb'"\x41"', b"NaN"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        read_json(text)
