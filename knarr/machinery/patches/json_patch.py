"""JSON patch, RFC 6902, with RFC 6901 pointers."""

from __future__ import annotations

import copy
import re
from typing import Any

from knarr.machinery.errors import Invalid, StatusError, bad_request, status_error
from knarr.machinery.patches.problems import unprocessable

MAX_OPERATIONS = 10_000
# What all copies of one patch may add, in bytes of JSON; as Kubernetes bounds it.
MAX_COPIED_BYTES = 3 * 1024 * 1024
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_MISSING = object()


class FailedTest(Invalid):
    """The object is not what a patch takes it for."""


def apply(original: dict[str, Any], operations: list[Any]) -> Any:
    """The patched object.

    Raises StatusError: 400 when the patch is malformed, 413 when it is too long, 422 when it does not fit the object or a test fails.
    """
    if len(operations) > MAX_OPERATIONS:
        raise _too_long(len(operations))
    copied_bytes = 0
    try:
        document: Any = copy.deepcopy(original)
        for operation in operations:
            if isinstance(operation, dict) and operation.get("op") == "copy":
                copied_bytes += _copied_bytes(document, operation, MAX_COPIED_BYTES - copied_bytes)
            document = _apply_one(document, operation)
    except RecursionError:
        raise unprocessable("the patch nests values too deeply") from None
    return document


def _copied_bytes(document: Any, operation: dict[str, Any], left_bytes: int) -> int:
    """What a copy will add; raises Invalid when that is more than is left."""
    source = operation.get("from")
    if not isinstance(source, str) or (value := _find(document, _pointer(source))) is _MISSING:
        return 0
    size = _size(value, left_bytes)
    if size > left_bytes:
        raise unprocessable(
            f"Unable to complete the copy, the accumulated size increase of copy is more than the limit of {MAX_COPIED_BYTES} bytes"
        )
    return size


def _size(value: Any, enough: int) -> int:
    """About how many bytes of JSON a value has; counts no further than ``enough``."""
    size, waiting = 0, [value]
    while waiting and size <= enough:
        item = waiting.pop()
        size += 2 + len(item) if isinstance(item, str) else 2
        if isinstance(item, dict):
            size += sum(map(len, item)) + 3 * len(item)
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return size


def _too_long(count: int) -> StatusError:
    detail = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"
    return status_error("RequestEntityTooLarge", detail)


def _apply_one(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise bad_request("error decoding patch: an operation must be a JSON object")
    name, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise bad_request(f'error decoding patch: operation {name!r} needs a "path"')
    steps = _pointer(path)
    if name == "test":
        return _test(document, steps, path, operation.get("value"))
    if name == "add":
        return _add(document, steps, path, copy.deepcopy(operation.get("value")))
    if name == "replace":
        return _replace(document, steps, path, copy.deepcopy(operation.get("value")))
    if name == "remove":
        return _remove(document, steps, path)
    if name in ("move", "copy"):
        return _transfer(document, operation, steps, path)
    raise unprocessable(f"Unexpected kind: {name}")


def _transfer(document: Any, operation: dict[str, Any], steps: list[str], path: str) -> Any:
    source = operation.get("from")
    if not isinstance(source, str):
        raise bad_request(f'error decoding patch: operation "{operation["op"]}" needs a "from"')
    origin = _pointer(source)
    value = _find(document, origin)
    if value is _MISSING:
        raise unprocessable(f"{operation['op']} operation does not apply: doc is missing from path: {source}: missing value")
    if operation["op"] == "copy":
        return _add(document, steps, path, copy.deepcopy(value))
    if steps[: len(origin)] == origin and steps != origin:
        raise unprocessable(f"move operation does not apply: {path} lies inside {source}")
    return _add(_remove(document, origin, source), steps, path, value)


def _pointer(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise unprocessable(f'path "{path}" must start with "/"')
    return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]


def _find(document: Any, steps: list[str]) -> Any:
    for step in steps:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and _INDEX.fullmatch(step) and int(step) < len(document):
            document = document[int(step)]
        else:
            return _MISSING
    return document


def _parent(document: Any, steps: list[str], path: str, operation: str) -> Any:
    parent = _find(document, steps[:-1])
    if not isinstance(parent, dict | list):
        raise unprocessable(f"{operation} operation does not apply: doc is missing path: {path}: missing value")
    return parent


def _index(parent: list[Any], step: str, path: str, operation: str, end: int) -> int:
    if not _INDEX.fullmatch(step) or int(step) >= end:
        raise unprocessable(f"{operation} operation does not apply: doc is missing key: {path}: Unable to access invalid index: {step}")
    return int(step)


def _add(document: Any, steps: list[str], path: str, value: Any) -> Any:
    if not steps:
        return value
    parent, last = _parent(document, steps, path, "add"), steps[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    else:
        parent.insert(_index(parent, last, path, "add", len(parent) + 1), value)
    return document


def _replace(document: Any, steps: list[str], path: str, value: Any) -> Any:
    if not steps:
        return value
    parent, last = _parent(document, steps, path, "replace"), steps[-1]
    if isinstance(parent, list):
        parent[_index(parent, last, path, "replace", len(parent))] = value
    elif last in parent:
        parent[last] = value
    else:
        raise unprocessable(f"replace operation does not apply: doc is missing key: {path}: missing value")
    return document


def _remove(document: Any, steps: list[str], path: str) -> Any:
    if not steps:
        raise unprocessable("remove operation does not apply: the whole document cannot be removed")
    parent, last = _parent(document, steps, path, "remove"), steps[-1]
    if isinstance(parent, list):
        del parent[_index(parent, last, path, "remove", len(parent))]
    elif last in parent:
        del parent[last]
    else:
        raise unprocessable(f"remove operation does not apply: doc is missing key: {path}: missing value")
    return document


def _test(document: Any, steps: list[str], path: str, wanted: Any) -> Any:
    found = _find(document, steps)
    if not _equal(None if found is _MISSING else found, wanted):
        raise FailedTest(unprocessable(f"testing value {path} failed: test failed").status)
    return document


def _equal(left: Any, right: Any) -> bool:
    """JSON equality: 1 is not true, key order does not matter; 1 is 1.0, though not within lists and objects."""
    numbers = isinstance(left, int | float) and type(left) is not bool and type(right) is not bool
    return bool(left == right) if numbers else _same(left, right)


def _same(left: Any, right: Any) -> bool:
    """It costs no more than ``right``, which the patch brings, is large."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return len(left) == len(right) and all(key in left and _same(left[key], right[key]) for key in right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)
