"""Netlink messages and their attributes as bytes. Formats: linux/netlink.h; all but values are in the machine's byte order."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
_CODE = struct.Struct("=i")

# Flags: of every question, of those whose answer is wanted, of those for all there is, of what makes something that must not be there.
REQUEST, ACK, DUMP, MAKE = 0x1, 0x4, 0x300, 0x600
# Flags of what makes something or takes its place, or stands beside it; of what must be there.
SUPERSEDE, APPEND, ALTER = 0x500, 0xC00, 0x100
# Flag of an answer about what changed while it was told.
TORN = 0x10
# Kinds of answers.
ERROR, DONE = 2, 3
# Marks of an attribute's kind.
NESTED, KIND_MASK = 0x8000, 0x3FFF


class NetlinkRefused(OSError):
    """The kernel refused what was asked for; nothing of it is in force."""


class Message(NamedTuple):
    """A message from the kernel. ``port`` is whose request it follows; ``body`` is all that stands after the header."""

    kind: int
    sequence: int
    port: int
    body: bytes
    flags: int = 0

    @property
    def error(self) -> int:
        """The error number that an answer of kind ERROR or DONE tells; 0 when it was done."""
        number: int = -_CODE.unpack_from(self.body)[0]
        return number


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A netlink message to the kernel."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def messages(data: bytes) -> Iterator[Message]:
    """The messages in what was received at once."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, port = HEADER.unpack_from(data, offset)
        yield Message(kind, sequence, port, data[offset + HEADER.size : offset + length], flags)
        offset += max(_aligned(length), HEADER.size)


def attribute(kind: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each attribute in a row."""
    offset = 0
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        yield kind & KIND_MASK, data[offset + ATTRIBUTE.size : offset + length]
        offset += max(_aligned(length), ATTRIBUTE.size)


def only(data: bytes, wanted: int) -> bytes:
    """The value of the first attribute of a kind; empty when there is none."""
    return next((value for kind, value in attributes(data) if kind == wanted), b"")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
