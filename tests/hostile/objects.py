"""Objects of every kind with many elements in one place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from knarr.machinery.resources import Version
from knarr.machinery.schema import Field, fields_of

Place = tuple[Field, ...]
_NUMBERS = {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64}


def places(descriptor: Descriptor, within: tuple[str, ...] = ()) -> Iterator[Place]:
    """The ways to every list and map below a message; a type within itself is entered once."""
    if descriptor.full_name in within:
        return
    for field in fields_of(descriptor):
        if field.is_list or field.is_map:
            yield (field,)
        if field.message is not None and not field.is_map:
            for deeper in places(field.message, (*within, descriptor.full_name)):
                yield (field, *deeper)


def filled(version: Version, place: Place, count: int) -> Any:
    """An object with ``count`` elements at a place: half of them unlike all others, the rest alike."""
    obj: Any = version.message()
    obj.metadata.name = "many"
    if version.resource.namespaced:
        obj.metadata.namespace = "default"
    message = obj
    for field in place[:-1]:
        message = getattr(message, field.name)
        if field.is_list:
            message = message.add()
            fill(message, 0)
        message.SetInParent()
    _multiply(message, place[-1], count)
    return obj


def _multiply(message: Any, field: Field, count: int) -> None:
    values = getattr(message, field.name)
    numbers = [number if number % 2 else 1 for number in range(count)]
    if field.is_map:
        for number in range(count):
            if field.message is not None:
                fill(values[f"x{number}"], number)
            else:
                values[f"x{number}"] = _scalar(field.element, number)
    elif field.message is not None:
        for number in numbers:
            fill(values.add(), number)
    else:
        values.extend(_scalar(field.element, number) for number in numbers)


def fill(message: Message, number: int) -> None:
    """Gives an element what tells it from others: all its plain fields."""
    for field in fields_of(message.DESCRIPTOR):
        if field.message is None and not field.is_list and not field.is_map:
            setattr(message, field.name, _scalar(field.element, number))


def _scalar(element: FieldDescriptor, number: int) -> Any:
    if element.type == FieldDescriptor.TYPE_STRING:
        return f"x{number}"
    if element.type in _NUMBERS:
        return number + 1
    if element.type == FieldDescriptor.TYPE_BYTES:
        return b"x%d" % number
    return float(number) if element.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT) else False
