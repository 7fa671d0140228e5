"""JSON merge patch, RFC 7386."""

from __future__ import annotations

from typing import Any


def apply(original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The patched object: null removes a field, objects merge, everything else replaces.

    As Kubernetes does, and RFC 7386 does not ask, objects in lists lose their nulls too; nulls of the lists themselves stay.
    """
    result = dict(original)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            old = result.get(name)
            result[name] = apply(old if isinstance(old, dict) else {}, value)
        else:
            result[name] = _plain(value)
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    return [_plain(item) for item in value] if isinstance(value, list) else value
