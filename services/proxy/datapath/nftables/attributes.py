"""Netlink attributes as nf_tables wants them: numbers in network order, texts that end with a zero byte, nests marked as such."""

from __future__ import annotations

import struct

from knarr.netlink.messages import NESTED, attribute


def nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def expression(name: str, *parts: bytes) -> bytes:
    """The attribute that stands for one step of a rule."""
    return nest(1, text(1, name), nest(2, *parts))
