"""Copies: what to change instead of an object that is shared."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def copy_of(message: M) -> M:
    """A deep copy that is the caller's own, of an object or of any part of one."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def copy_field(name: str, target: Any, source: Any) -> None:
    """Makes a field of ``target`` what it is in ``source``, a message of the same type; map and repeated fields included."""
    target.ClearField(name)
    descriptor = target.DESCRIPTOR.fields_by_name[name]
    if descriptor.is_repeated:
        getattr(target, name).MergeFrom(getattr(source, name))
    elif descriptor.has_presence and not source.HasField(name):
        return
    elif descriptor.message_type is not None:
        getattr(target, name).CopyFrom(getattr(source, name))
    else:
        setattr(target, name, getattr(source, name))
