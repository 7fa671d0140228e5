"""Copies: what to change instead of an object that is shared."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def copy_of(message: M) -> M:
    """A deep copy that is the caller's own, of an object or of any part of one."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
