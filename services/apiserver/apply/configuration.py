"""What is applied: a part of an object, as JSON or YAML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from knarr.machinery import budget, codec
from knarr.machinery.diagnosis import find_repeated, strict_words, without_duplicates
from knarr.machinery.errors import StatusError, bad_request
from knarr.machinery.fieldsets.check import problems
from knarr.machinery.fieldsets.shape import Shape
from knarr.machinery.json_text import read_json
from knarr.machinery.yaml_text import yaml_documents
from services.apiserver.strategies.empty_lists import mark_empty


@dataclass(frozen=True, slots=True)
class Configuration:
    """``value`` is what the body says, read only; ``size_bytes`` the body's; ``warnings`` what its author should hear."""

    value: dict[str, Any]
    size_bytes: int
    warnings: tuple[str, ...] = ()


def parse(body: bytes, names: tuple[str, str], shape: Shape, field_validation: str) -> Configuration:
    """Reads what is to be applied to an object of the apiVersion and kind ``names``; raises BadRequest in Kubernetes' words."""
    value, written = _load(body)
    _check(value, names, shape)
    mark_empty(value, *names)
    repeated = find_repeated(written) if written is not None and field_validation != "Ignore" else []
    if repeated and field_validation == "Strict":
        raise bad_request("error strict decoding patch: error converting YAML to JSON: " + strict_words(repeated))
    return Configuration(value, len(body), tuple(repeated))


def _load(body: bytes) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What the body says; and the same with the keys that it repeats, None for JSON that repeats none."""
    try:
        value, body = read_json(body)
    except orjson.JSONDecodeError:
        written = _load_yaml(body)
        return without_duplicates(written), written
    if not isinstance(value, dict):
        raise bad_request("error decoding patch: expected an object")
    budget.check(value, body)
    if not codec.may_repeat_keys(body, value):
        return value, None
    # Kubernetes reads JSON as YAML here, and tells the lines.
    written = _load_yaml(body)
    return without_duplicates(written), written


def _load_yaml(body: bytes) -> dict[str, Any]:
    try:
        documents = yaml_documents(body)
    except StatusError as error:
        raise bad_request(f"error decoding patch: {error.status.message}") from None
    budget.check(documents)
    if len(documents) != 1:
        raise bad_request(f"error decoding patch: expected one document, got {len(documents)}")
    return documents[0]


def _check(value: dict[str, Any], names: tuple[str, str], shape: Shape) -> None:
    found = value.get("apiVersion"), value.get("kind")
    if found != names:
        raise bad_request(f"invalid object type: {kind_text(str(found[0] or ''), str(found[1] or ''))}")
    metadata = value.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    wrong = problems(shape, value)
    if wrong:
        place = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}; {kind_text(*names)}"
        text = wrong[0] if len(wrong) == 1 else "\n  ".join(["errors:", *wrong])
        raise bad_request(f"failed to create typed patch object ({place}): {text}")


def kind_text(api_version: str, kind: str) -> str:
    """``apps/v1, Kind=Deployment``."""
    return f"{api_version if '/' in api_version else f'/{api_version}'}, Kind={kind}"
