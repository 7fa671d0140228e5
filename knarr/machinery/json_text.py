"""JSON text as Go reads it: what is no character becomes U+FFFD, where other readers give up."""

from __future__ import annotations

import re
from typing import Any

import orjson

_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# Half of a pair, after an even number of backslashes.
_LONE = re.compile(rb"(?<!\\)((?:\\\\)*)(?:%b(?!%b)|(?<!%b)%b)" % (_HIGH, _LOW, _HIGH, _LOW))
# What Python makes of a byte that is no UTF-8 so that it can be told.
_ESCAPED = re.compile("[\udc80-\udcff]")


def read_json(text: bytes) -> tuple[Any, bytes]:
    """The value of JSON text, and the text that has this value for every reader. Raises orjson.JSONDecodeError."""
    try:
        return orjson.loads(text), text
    except orjson.JSONDecodeError:
        readable = _readable(text)
        if readable == text:
            raise
        return orjson.loads(readable), readable


def text_of(read: bytes) -> str:
    """What is no UTF-8 becomes a U+FFFD for each byte, where Python makes one of several."""
    return _ESCAPED.sub("\ufffd", read.decode(errors="surrogateescape"))


def _readable(text: bytes) -> bytes:
    return _LONE.sub(rb"\1\\ufffd", text_of(text).encode())
