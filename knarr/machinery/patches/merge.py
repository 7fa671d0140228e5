"""JSON merge patch, RFC 7386."""

from __future__ import annotations

from typing import Any


def apply(original: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The patched object: null removes a field, objects merge, everything else replaces."""
    result = dict(original)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            old = result.get(name)
            result[name] = apply(old if isinstance(old, dict) else {}, value)
        else:
            result[name] = value
    return result
