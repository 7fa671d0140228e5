"""One spelling for equal objects: empty value structs are left out, amounts of resources are in thousandths.

Go writes a value struct (``resources: {}``) always, other clients only when it holds something.
Both mean the same, so before objects are compared or stored the empty ones go. In every ResourceList
Kubernetes rounds what is finer than a thousandth, away from zero. The walk is compiled once per
message type and skips what cannot hold such a field.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass

from knarr.machinery.custom.objects import CustomObject
from knarr.machinery.quantity import in_thousandths
from knarr.machinery.schema import descriptor_of, fields_of

Walk = Callable[[Any], None]

_walks: dict[str, Walk | None] = {}
# Large bodies are worked on in a thread of their own: what is half made is nobody else's.
_making: set[str] = set()
_lock = RLock()


def canonicalize(message: Any) -> None:
    """Clears every empty value struct in ``message`` and rounds its amounts; a malformed amount stays, for validation to name it."""
    if isinstance(message, CustomObject):
        return  # JSON has no empty structs of its own
    walk = _walk_of(descriptor_of(message))
    if walk is not None:
        walk(message)


def _walk_of(descriptor: Descriptor) -> Walk | None:
    name = descriptor.full_name
    if name not in _walks:
        with _lock:
            if name in _making:
                return _late(name)  # a type that holds itself
            _making.add(name)
            try:
                _walks[name] = _compile(descriptor)
            finally:
                _making.discard(name)
    return _walks[name]


def _late(name: str) -> Walk:
    def walk(message: Any) -> None:
        found = _walks[name]
        if found is not None:
            found(message)

    return walk


def _compile(descriptor: Descriptor) -> Walk | None:
    singles: list[tuple[str, Walk | None, Any]] = []
    lists: list[tuple[str, Walk]] = []
    maps: list[tuple[str, Walk]] = []
    amounts: list[str] = []
    for field in fields_of(descriptor):
        if field.message is None:
            continue
        if field.type_name == "ResourceList":
            amounts.append(field.name)
            continue
        walk = _walk_of(field.message)
        if field.is_list or field.is_map:
            if walk is not None:
                (lists if field.is_list else maps).append((field.name, walk))
        elif walk is not None or field.is_struct:
            empty = GetMessageClass(field.message)() if field.is_struct else None
            singles.append((field.descriptor.name, walk, empty))
    return _walker(singles, lists, maps, amounts) if singles or lists or maps or amounts else None


def _walker(
    singles: list[tuple[str, Walk | None, Any]], lists: list[tuple[str, Walk]], maps: list[tuple[str, Walk]], amounts: list[str]
) -> Walk:
    def walk(message: Any) -> None:
        has = message.HasField
        for name, inner, empty in singles:
            if has(name):
                value = getattr(message, name)
                if inner is not None:
                    inner(value)
                # A tenth of what it takes to list its fields.
                if empty is not None and value == empty:
                    message.ClearField(name)
        for name, inner_of_list in lists:
            for value in getattr(message, name):
                inner_of_list(value)
        for name, inner_of_map in maps:
            for value in getattr(message, name).values():
                inner_of_map(value)
        for name in amounts:
            for amount in getattr(message, name).values():
                rounded = in_thousandths(amount.string)
                if rounded != amount.string:
                    amount.string = rounded

    return walk
