"""Strategic merge patch: a merge patch that knows which lists merge, and by which key.

Merge keys and strategies come from the schema options. Directives: ``$patch: replace|merge|delete`` in objects and list elements,
``$retainKeys``, ``$setElementOrder/<list>`` and ``$deleteFromPrimitiveList/<list>``. Specified in Kubernetes' strategic-merge-patch design
document. Nulls of the patch that meet nothing in the original are dropped, as Kubernetes does since 1.23.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from knarr.machinery.errors import StatusError, bad_request
from knarr.machinery.patches.problems import go_value, unprocessable
from knarr.machinery.schema import Field, Form, descriptor_of, form_of, json_fields

DIRECTIVE = "$patch"
RETAIN_KEYS = "$retainKeys"
ELEMENT_ORDER = "$setElementOrder/"
DELETE_PRIMITIVES = "$deleteFromPrimitiveList/"

JsonObject = dict[str, Any]


def apply(message_type: type[Message], original: JsonObject, patch: JsonObject) -> JsonObject:
    """The patched object. Raises StatusError: 400 for a malformed patch, 422 for one that does not fit."""
    return _merge_object(original, patch, _Shape(descriptor_of(message_type)))


def _is_directive(name: str) -> bool:
    return name in (DIRECTIVE, RETAIN_KEYS) or name.startswith((ELEMENT_ORDER, DELETE_PRIMITIVES))


class _Shape:
    """What is known of an object's fields: those of a message, or the alike values of a map, or nothing."""

    def __init__(self, message: Descriptor | None = None, values: _Shape | None = None) -> None:
        self._fields = json_fields(message) if message is not None and form_of(message) == Form.JSON_FORM_UNSPECIFIED else {}
        self._values = values

    def field(self, name: str) -> Field | None:
        entry = self._fields.get(name)
        return entry[1] if entry else None

    def inner(self, name: str) -> _Shape:
        """The shape of a field's value, or of its elements when it is a list."""
        field = self.field(name)
        if field is None:
            return self._values or _Shape()
        element = _Shape(field.message)
        return _Shape(values=element) if field.is_map else element

    def merges(self, name: str) -> bool:
        field = self.field(name)
        return field is not None and "merge" in field.patch_strategy

    def replaces(self, name: str) -> bool:
        field = self.field(name)
        return field is not None and "replace" in field.patch_strategy

    def merge_key(self, name: str) -> str:
        field = self.field(name)
        return field.patch_merge_key if field is not None else ""


def _merge_object(original: JsonObject, patch: JsonObject, shape: _Shape) -> JsonObject:
    directive = patch.get(DIRECTIVE)
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown patch type found: {directive}")
    patch = {name: value for name, value in patch.items() if name != DIRECTIVE}
    result = _retain(original, patch)
    patch.pop(RETAIN_KEYS, None)
    for name in [name for name in patch if name.startswith(ELEMENT_ORDER)]:
        _order_list(result, patch, name.removeprefix(ELEMENT_ORDER), shape)
    for name, value in patch.items():
        if name.startswith(DELETE_PRIMITIVES):
            _delete_primitives(result, name.removeprefix(DELETE_PRIMITIVES), value)
        else:
            _merge_field(result, name, value, shape)
    return result


def _merge_field(result: JsonObject, name: str, value: Any, shape: _Shape) -> None:
    old = result.get(name)
    if value is None:
        result.pop(name, None)
    elif isinstance(value, dict) and isinstance(old, dict) and not shape.replaces(name):
        result[name] = _merge_object(old, value, shape.inner(name))
    elif isinstance(value, list) and isinstance(old, list) and shape.merges(name):
        result[name] = _merge_list(old, value, shape, name)
    elif old is None:
        result[name] = _plain(value)
    else:
        result[name] = value


def _retain(original: JsonObject, patch: JsonObject) -> JsonObject:
    """The original without the fields that ``$retainKeys`` does not name."""
    if RETAIN_KEYS not in patch:
        return dict(original)
    kept = _tokens(patch[RETAIN_KEYS]) if isinstance(patch[RETAIN_KEYS], list) else None
    # A null removes what is not retained either way: kubectl apply sends one for the kind of volume that another takes the place of.
    if kept is None or any(name not in kept for name, value in patch.items() if value is not None and not _is_directive(name)):
        raise bad_request("invalid patch format of retainKeys")
    return {name: value for name, value in original.items() if name in kept}


def _token(value: Any) -> Any:
    """What stands for a JSON value in a set: equal for equal values, whether they can be hashed or not."""
    return value if type(value) is str else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _tokens(values: Iterable[Any]) -> dict[Any, int]:
    """Where each value stands for the first time."""
    found: dict[Any, int] = {}
    for index, value in enumerate(values):
        found.setdefault(_token(value), index)
    return found


def _plain(value: Any) -> Any:
    """A new value of the patch without its directives and nulls."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None and not _is_directive(name)}
    if isinstance(value, list):
        return [_plain(item) for item in value if not (isinstance(item, dict) and DIRECTIVE in item)]
    return value


def _delete_primitives(result: JsonObject, name: str, values: Any) -> None:
    if not isinstance(values, list) or any(isinstance(value, dict | list) for value in values):
        raise bad_request("invalid patch format of primitive list")
    if isinstance(result.get(name), list):
        gone = _tokens(values)
        result[name] = [item for item in result[name] if _token(item) not in gone]


def _order_list(result: JsonObject, patch: JsonObject, name: str, shape: _Shape) -> None:
    """Merges one list and puts it into the order that ``$setElementOrder`` asks for; both leave the patch."""
    order = patch.pop(ELEMENT_ORDER + name)
    if not isinstance(order, list):
        raise bad_request("invalid patch format of setElementOrder list")
    if name in patch and not isinstance(patch[name], list):
        return
    old, new = result.get(name), patch.pop(name, None)
    merge_key = shape.merge_key(name)
    if new is not None:
        _check_order(new, order, merge_key)
    if not isinstance(old, list):
        if new is None:
            return
        old, merged = [], _plain(new)
    elif new is None:
        merged = old
    else:
        merged = _merge_list(old, new, shape, name) if shape.merges(name) else new
    result[name] = _arrange(merged, order, old, merge_key)


def _check_order(patch: list[Any], order: list[Any], merge_key: str) -> None:
    """The patched elements must come in the order asked for."""
    identity = _identity(merge_key)
    wanted = _tokens(identity(item) for item in order)
    found = [identity(item) for item in patch if not (isinstance(item, dict) and DIRECTIVE in item)]
    positions = [wanted.get(_token(item), -1) for item in found]
    if -1 in positions or positions != sorted(positions):
        raise bad_request(f"The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")


def _merge_list(original: list[Any], patch: list[Any], shape: _Shape, name: str) -> list[Any]:
    if not any(isinstance(item, dict) for item in (*original, *patch)):
        merged = list({_token(item): item for item in (*original, *patch)}.values())
        return _arrange(merged, patch, original, "")
    merge_key = shape.merge_key(name)
    if not merge_key:
        raise unprocessable(f"cannot merge lists without merge key for {name}")
    kept, changes, replace = _directives(original, patch, merge_key)
    if replace:
        return changes
    merged = list(kept)
    places = {_token(item.get(merge_key)): index for index, item in reversed(list(enumerate(merged))) if isinstance(item, dict)}
    for change in changes:
        place = places.setdefault(_token(_key_of(change, merge_key)), len(merged))
        if place == len(merged):
            # By its key it is put in order below, even where that is null.
            merged.append({**_plain(change), merge_key: change[merge_key]})
        else:
            merged[place] = _merge_object(merged[place], change, shape.inner(name))
    return _arrange(merged, changes, original, merge_key)


def _directives(original: list[Any], patch: list[Any], merge_key: str) -> tuple[list[Any], list[Any], bool]:
    """Original elements that stay, patch elements without directives, and whether the list is replaced."""
    gone, changes, replace = set[Any](), list[Any](), False
    for item in patch:
        directive = item.get(DIRECTIVE) if isinstance(item, dict) else None
        if directive is None:
            changes.append(item)
        elif directive == "delete":
            gone.add(_token(_key_of(item, merge_key)))
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            changes.append({name: value for name, value in item.items() if name != DIRECTIVE})
        else:
            raise bad_request(f"unknown patch type found: {directive}")
    kept = [item for item in original if not (gone and isinstance(item, dict) and _token(item.get(merge_key)) in gone)]
    return kept, changes, replace


def _key_of(item: Any, merge_key: str) -> Any:
    if not isinstance(item, dict):
        raise _not_an_object(item)
    if merge_key not in item:
        raise unprocessable(f"map: {go_value(item)} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _not_an_object(item: Any) -> StatusError:
    return unprocessable(f"expected a JSON object in the list, found {item!r}")


def _identity(merge_key: str) -> Callable[[Any], Any]:
    if not merge_key:
        return lambda item: item
    return lambda item: _key_of(item, merge_key)


def _arrange(merged: list[Any], order: list[Any], original: list[Any], merge_key: str) -> list[Any]:
    """Elements named in ``order`` in that order, the others in the original's; where both are known, the original decides."""
    identity = _identity(merge_key)
    wanted, before = _tokens(map(identity, order)), _tokens(map(identity, original))
    known = [(_token(identity(item)), item) for item in merged]
    named = deque(sorted((pair for pair in known if pair[0] in wanted), key=lambda pair: wanted[pair[0]]))
    others = deque(pair for pair in known if pair[0] not in wanted)
    result: list[Any] = []
    while named and others:
        left, right = before.get(others[0][0]), before.get(named[0][0])
        first = left is not None and right is not None and left < right
        result.append((others if first else named).popleft()[1])
    return [*result, *(item for _, item in (*named, *others))]
