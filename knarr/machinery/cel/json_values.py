"""Values of expressions as JSON."""

from __future__ import annotations

import base64
from typing import Any

from knarr.machinery.cel.errors import EvaluationError
from knarr.machinery.cel.standard import as_text
from knarr.machinery.cel.values import Duration, MadeObject, Optional, Timestamp, UInt, type_name


def as_json(value: Any) -> Any:
    """Raises EvaluationError for what is nothing in JSON."""
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, UInt | int):
        return int(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise EvaluationError("keys of JSON objects are strings")
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, Timestamp | Duration):
        return as_text(value)
    if isinstance(value, Optional):
        raise EvaluationError("an optional is no value of JSON")
    raise EvaluationError(f"type conversion error from '{type_name(value)}' to JSON")


def check_types(value: MadeObject, path: str) -> None:
    """The objects within one that was made are called as the fields that they stand in. Raises EvaluationError."""
    for name, item in value.items():
        _check_types(item, f"{path}.{name}")


def _check_types(value: Any, path: str) -> None:
    if isinstance(value, MadeObject):
        if value.cel_type != path:
            words = f'unexpected type name "{value.cel_type}", expected "{path}", which matches field name path from root Object type'
            raise EvaluationError(words)
        check_types(value, path)
    elif isinstance(value, list):
        for item in value:
            _check_types(item, path)
    elif isinstance(value, dict):
        for item in value.values():
            _check_types(item, path)
