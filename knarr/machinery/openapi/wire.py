"""What both forms of OpenAPI as protobuf are written with: those of gnostic, which clients written in Go ask for, from the same as JSON.

Each message is a table of its fields: the name in JSON → its number and what writes it. Only what our documents hold is there.
Extensions (``x-…``) are YAML text within the message; JSON is YAML.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from knarr.machinery.envelope import varint

Write = Callable[[Any], bytes]
Table = Mapping[str, tuple[int, Write]]

LENGTH, FIXED64, VARINT = 2, 1, 0


def block(number: int, data: bytes) -> bytes:
    """A field of bytes: a text or a message."""
    return b"".join((varint(number << 3 | LENGTH), varint(len(data)), data))


def text(value: str) -> bytes:
    return value.encode()


def any_value(value: object) -> bytes:
    """gnostic's Any: YAML. A list of values is a field for each."""
    return block(2, orjson.dumps(value) + b"\n")


class Whole:
    """Writes a value as it is, be it a list or a truth; nothing where ``write`` answers nothing."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def __call__(self, value: Any) -> bytes:
        return self._write(value)


one_any = Whole(any_value)


def named(name: str, value: bytes) -> bytes:
    return block(1, name.encode()) + block(2, value)


def map_of(number: int, write: Write) -> Write:
    """A message that is a map: its entries are a repeated field of name and value."""
    return lambda found: b"".join(block(number, named(name, write(value))) for name, value in found.items())


def list_of(values: Iterable[Any], number: int, write: Write) -> bytes:
    return b"".join(block(number, write(value)) for value in values)


def message(found: Mapping[str, Any], table: Table, extensions: int = 0) -> bytes:
    """A message by its table; lists are repeated fields; what begins with ``x-`` goes to the field ``extensions``."""
    parts = []
    for name, value in found.items():
        if name.startswith("x-") and extensions:
            parts.append(block(extensions, named(name, any_value(value))))
            continue
        number, write = table.get(name, (0, text))
        if not number:
            continue
        if isinstance(write, Whole):
            if written := write(value):
                parts.append(block(number, written))
        elif value is False:
            continue
        elif value is True:
            parts.append(varint(number << 3 | VARINT) + b"\x01")
        elif isinstance(value, list):
            parts.append(list_of(value, number, write))
        elif write is double:
            parts.append(varint(number << 3 | FIXED64) + double(value))
        elif write is integer:
            parts.append(varint(number << 3 | VARINT) + integer(value))
        else:
            parts.append(block(number, write(value)))
    return b"".join(parts)


def double(value: float) -> bytes:
    return struct.pack("<d", value)


def integer(value: int) -> bytes:
    return varint(value & 2**64 - 1)
