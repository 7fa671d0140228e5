"""What the creator of an object owns, remembered by the object's outline: most objects look like one that was created before.

The outline of a message is what its fields are, without the values that no set of fields tells: which are set, the keys of its maps,
and all that is in its lists, whose elements may be told apart by any of it. Objects of one outline have the same set of fields. What of
an object's metadata is nobody's is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor

from knarr.machinery.encoding import encoder
from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.resources import Version
from knarr.machinery.schema import Field, Form, fields_of, form_of
from services.apiserver.apply.changes import NOBODYS

# An outline of more parts, or of a longer list, would cost more than it saves. What is remembered is 8 MiB at most.
MAX_PARTS, MAX_OUTLINES, MAX_BYTES = 128, 256, 16 * 1024
# Outlines are found no deeper than this; deeper ones are not remembered.
MAX_DEPTH = 16

_POINTS_IN_TIME = (Form.JSON_FORM_TIME, Form.JSON_FORM_MICRO_TIME)

Outline = tuple[Any, ...]
# Adds to an outline what a field's value tells of it.
_Add = Callable[[Any, list[Any], int], None]

_known: dict[tuple[Version, Outline], tuple[Fields, bytes]] = {}
_adders: dict[Descriptor, dict[Any, _Add | None]] = {}


class TooLong(Exception):
    """The outline is not worth remembering."""


def outline(obj: Any) -> Outline | None:
    """The outline of an object; None for one that is too long."""
    parts: list[Any] = []
    try:
        adders = _adders_of(obj)
        for descriptor, value in obj.ListFields():
            parts.append(descriptor.number)
            if descriptor.name == "metadata":
                _add_fields(value, _not_nobodys(value), parts, 1)
            elif (add := adders[descriptor]) is not None:
                add(value, parts, 1)
    except TooLong:
        return None
    return tuple(parts)


def recall(version: Version, unreached: Fields, found: Outline) -> bytes | None:
    """The set of fields of an object of the version that has this outline, as FieldsV1, without what is ``unreached``."""
    known = _known.get((version, found))
    return known[1] if known is not None and known[0] is unreached else None


def remember(version: Version, unreached: Fields, found: Outline, raw: bytes) -> None:
    if len(raw) > MAX_BYTES or _weight(found) > MAX_BYTES:
        return
    if len(_known) >= MAX_OUTLINES:
        _known.clear()
    _known[version, found] = unreached, raw


# A way to a field: the numbers of fields, and the key of a map.
Spot = tuple[Any, ...]


class _Unlike(Exception):
    """More than single values of two objects differ."""


def spots(old: Any, new: Any) -> tuple[Spot, ...] | None:
    """Where two objects that have the same fields have other values; None where they differ in more: in which fields they have, in a list,
    in what is compared as a whole, or by a value that JSON leaves out."""
    found: list[Spot] = []
    try:
        for descriptor, was, now in _pairs(old.ListFields(), new.ListFields()):
            way = (descriptor.number,)
            if descriptor.name != "metadata":
                _compare(way, descriptor, was, now, found)
            elif was != now:
                for inner, one, other in _pairs(_not_nobodys(was), _not_nobodys(now)):
                    _compare((*way, inner.number), inner, one, other, found)
    except _Unlike:
        return None
    return tuple(found)


def _not_nobodys(metadata: Any) -> Sequence[tuple[Any, Any]]:
    return [found for found in metadata.ListFields() if found[0].name not in NOBODYS]


def _pairs(old: Sequence[tuple[Any, Any]], new: Sequence[tuple[Any, Any]]) -> Iterator[tuple[Any, Any, Any]]:
    """The fields of two messages, as ``ListFields`` has them. Raises _Unlike for others."""
    if len(old) != len(new):
        raise _Unlike
    for (descriptor, was), (other, now) in zip(old, new, strict=True):
        if descriptor.number != other.number:
            raise _Unlike
        yield descriptor, was, now


def _compare(way: Spot, descriptor: Any, old: Any, new: Any, found: list[Spot]) -> None:
    """Adds where a field differs that both have: mostly that is looked for no deeper than the library compares."""
    if old == new:
        return
    kind = descriptor.message_type
    if descriptor.is_repeated:
        _compare_maps(way, kind, old, new, found)
    elif kind is None:
        if not (old and new):
            # What is empty may be left out of the JSON: then it comes or goes.
            raise _Unlike
        found.append(way)
    elif (form := form_of(kind)) == Form.JSON_FORM_UNSPECIFIED:
        if len(way) >= MAX_DEPTH:
            raise _Unlike
        for inner, was, now in _pairs(old.ListFields(), new.ListFields()):
            _compare((*way, inner.number), inner, was, now, found)
    elif form not in _POINTS_IN_TIME or not (old.ListFields() and new.ListFields()):
        raise _Unlike
    elif _differs(kind, old, new):
        found.append(way)


def _compare_maps(way: Spot, kind: Descriptor | None, old: Any, new: Any, found: list[Spot]) -> None:
    """Those of scalars and of amounts; lists differ as wholes."""
    if kind is None or not kind.GetOptions().map_entry or old.keys() != new.keys():
        raise _Unlike
    value = kind.fields_by_name["value"].message_type
    if value is not None and form_of(value) != Form.JSON_FORM_QUANTITY:
        raise _Unlike
    found.extend((*way, key) for key in old if _differs(value, old[key], new[key]))


def _differs(kind: Descriptor | None, old: Any, new: Any) -> bool:
    """Whether two values are not the same to who compares objects as JSON: a time has no parts of a second there."""
    return bool(old != new) and (kind is None or bool(encoder(kind)(old) != encoder(kind)(new)))


def _weight(part: Any) -> int:
    """About how many bytes a part of an outline takes."""
    if isinstance(part, tuple):
        return sum(map(_weight, part))
    return len(part) if isinstance(part, str | bytes) else 8


def _adders_of(message: Any) -> dict[Any, _Add | None]:
    found = _adders.get(message.DESCRIPTOR)
    if found is None:
        found = _adders[message.DESCRIPTOR] = {field.descriptor: _adder(field) for field in fields_of(message.DESCRIPTOR)}
    return found


def _add_message(message: Any, parts: list[Any], depth: int) -> None:
    _add_fields(message, message.ListFields(), parts, depth)


def _add_fields(message: Any, fields: Sequence[tuple[Any, Any]], parts: list[Any], depth: int) -> None:
    """Adds what is set of a message, as ``ListFields`` has it."""
    adders = _adders_of(message)
    parts.append(len(fields))
    if len(parts) > MAX_PARTS or depth > MAX_DEPTH:
        raise TooLong
    for descriptor, value in fields:
        parts.append(descriptor.number)
        add = adders[descriptor]
        if add is not None:
            add(value, parts, depth + 1)


def _adder(field: Field) -> _Add | None:
    """None for a value that tells nothing but that it is there."""
    if field.is_map:
        return _add_keys if field.message is None or form_of(field.message) == Form.JSON_FORM_QUANTITY else _add_map
    if field.is_list:
        return _add_scalars if field.message is None else _add_elements
    if field.message is None:
        return None
    form = form_of(field.message)
    if form in _POINTS_IN_TIME:
        return _add_whether_set
    return _add_message if form == Form.JSON_FORM_UNSPECIFIED else _add_whole


def _refuse_long(value: Any) -> None:
    if len(value) > MAX_PARTS:
        raise TooLong


def _add_keys(value: Any, parts: list[Any], depth: int) -> None:
    _refuse_long(value)
    parts.append(tuple(sorted(value)))


def _add_map(value: Any, parts: list[Any], depth: int) -> None:
    _refuse_long(value)
    parts.append(tuple((key, value[key].SerializeToString(deterministic=True)) for key in sorted(value)))


def _add_scalars(value: Any, parts: list[Any], depth: int) -> None:
    _refuse_long(value)
    parts.append(tuple(value))


def _add_elements(value: Any, parts: list[Any], depth: int) -> None:
    _refuse_long(value)
    parts.append(tuple(element.SerializeToString(deterministic=True) for element in value))


def _add_whether_set(value: Any, parts: list[Any], depth: int) -> None:
    parts.append(bool(value.ListFields()))


def _add_whole(value: Any, parts: list[Any], depth: int) -> None:
    parts.append(value.SerializeToString(deterministic=True))
