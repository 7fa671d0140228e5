"""YAML text → JSON objects, as Kubernetes reads YAML: timestamps stay strings, keys are strings."""

from __future__ import annotations

import re
from typing import Any

import yaml

from knarr.machinery.errors import bad_request

_TIMESTAMP = "tag:yaml.org,2002:timestamp"

_NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(?:0b[0-1_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"),
    "tag:yaml.org,2002:float": re.compile(
        r"(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9_]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$"
    ),
}


class _Loader(yaml.CSafeLoader):
    """YAML 1.1 without dates."""


# As in Go: no dates, and 1:20 is a string rather than 80.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def yaml_documents(text: str | bytes) -> list[dict[str, Any]]:
    """The objects of a YAML (or JSON) stream; empty documents are left out. Raises StatusError BadRequest."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise bad_request(f"error converting YAML to JSON: yaml: {' '.join(str(error).split())}") from None
    found = [_json(document) for document in documents if document is not None]
    for document in found:
        if not isinstance(document, dict):
            raise bad_request(f"error converting YAML to JSON: a document must be an object, not {type(document).__name__}")
    return found


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key(key): _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, list) else value


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return key if isinstance(key, str) else str(key)
