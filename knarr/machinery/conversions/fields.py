"""Copying fields from one message into another, whatever they are called there; a field that is not set stays unset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import Message


def copied(source: Message, target: Any, names: Iterable[str] | Mapping[str, str]) -> Any:
    """``target`` with the fields of ``source``; a mapping gives the name in ``target`` for each name in ``source``.

    Messages must have the same fields by number, as the shared types and those of two versions that are alike do.
    """
    pairs = names.items() if isinstance(names, Mapping) else ((name, name) for name in names)
    for name, other in pairs:
        field = source.DESCRIPTOR.fields_by_name[name]
        value = getattr(source, name)
        if field.is_repeated and field.message_type is not None and not isinstance(value, Mapping):
            for item in value:
                getattr(target, other).add().MergeFromString(item.SerializeToString())
        elif field.is_repeated:
            getattr(target, other).MergeFrom(value)
        elif field.message_type is not None:
            if source.HasField(name):
                getattr(target, other).MergeFromString(value.SerializeToString())
                getattr(target, other).SetInParent()
        elif not field.has_presence or source.HasField(name):
            setattr(target, other, value)
    return target
