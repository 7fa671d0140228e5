"""Patches as the pipeline uses them: parsed once, applied to a fresh object on every attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.message import Message

from knarr.machinery import budget, codec, diagnosis
from knarr.machinery.errors import BadRequest, StatusError, bad_request, status_error
from knarr.machinery.json_text import read_json
from knarr.machinery.object_forms import ObjectForm
from knarr.machinery.patches import json_patch, merge, strategic
from knarr.machinery.schema import fields_of
from knarr.machinery.type_names import names_of
from knarr.objects.copies import copy_field
from services.apiserver.apply.entries import mark_reset
from services.apiserver.pipeline.strictness import problem_of, refused, strays_of
from services.apiserver.strategies.empty_lists import mark_empty

ACCEPTED_FOR_JSON = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
ACCEPTED = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"


@dataclass(frozen=True, slots=True)
class ParsedPatch:
    """``type`` is ``json`` (a list of operations), ``merge`` or ``strategic`` (an object); ``strays`` say what its text repeats."""

    type: str
    body: Any
    strays: tuple[str, ...] = ()


def parse(patch_type: str, body: bytes) -> ParsedPatch:
    """Raises BadRequest for a body that is no such patch, UnsupportedMediaType for other types."""
    if patch_type not in ("json", "merge", "strategic"):
        raise status_error("UnsupportedMediaType", f"unknown patch type {patch_type!r} - accepted media types include: {ACCEPTED}")
    try:
        parsed, body = read_json(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from error
    budget.check(parsed, body)
    if not isinstance(parsed, list if patch_type == "json" else dict):
        raise bad_request(f"error decoding patch: expected a JSON {'array' if patch_type == 'json' else 'object'}")
    return ParsedPatch(patch_type, parsed, strays_of(patch_type, body, parsed))


def apply(patch: ParsedPatch, obj: Any, form: ObjectForm, field_validation: str, warnings: list[str]) -> Any:
    """The patched object; unknown and repeated fields are refused, warned of or dropped as ``field_validation`` says. Raises Invalid.

    What the patch does not name is not made JSON and read again: of a pod whose finalizer is taken that is nearly all.
    """
    unnamed = _unnamed(patch, obj) if form.has_message else []
    if unnamed:
        told: list[str] = []
        try:
            changed = _apply_to_others(patch, obj, unnamed, form, field_validation, told)
        except StatusError:
            pass  # What is said of it is said of the whole object.
        else:
            # Of a large object all values are counted.
            if changed.ByteSize() <= budget.MAX_VALUES:
                warnings.extend(told)
                return changed
    return _apply(patch, obj, form, field_validation, warnings)


def _apply_to_others(patch: ParsedPatch, obj: Any, unnamed: list[str], form: ObjectForm, field_validation: str, warnings: list[str]) -> Any:
    named = type(obj)()
    for field, _ in obj.ListFields():
        if field.name not in unnamed:
            copy_field(field.name, named, obj)
    changed = _apply(patch, named, form, field_validation, warnings)
    for name in unnamed:
        copy_field(name, changed, obj)
    # Of what was stored before JSON says what there is still.
    changed.DiscardUnknownFields()
    return changed


def _check_sort(patch: ParsedPatch, original: dict[str, Any], changed: dict[str, Any]) -> None:
    """Raises Invalid where an object would be of another sort; one that no longer says of which, is of the same."""
    was, now = ((obj.get("apiVersion") or original["apiVersion"], obj.get("kind") or original["kind"]) for obj in (original, changed))
    if now != was:
        problem = f"converting ({now[0]}.{now[1]}) to ({was[0]}.{was[1]}): unknown conversion"
        raise refused(patch.type, patch.body, changed, problem)


def _unnamed(patch: ParsedPatch, obj: Message) -> list[str]:
    """Which of an object's parts (``spec``, ``status`` …) a patch leaves as they are."""
    if patch.type == "json" or any(name.startswith("$") for name in patch.body):
        return []
    parts = ((field, field.message is not None and not field.is_list and not field.is_map) for field in fields_of(obj.DESCRIPTOR))
    return [field.name for field, is_part in parts if is_part and not field.inline and field.json_name not in patch.body]


def _apply(patch: ParsedPatch, obj: Any, form: ObjectForm, field_validation: str, warnings: list[str]) -> Any:
    original = form.to_dict(obj)
    if patch.type == "json":
        changed = json_patch.apply(original, patch.body)
    elif patch.type == "merge":
        changed = merge.apply(original, patch.body)
    elif not form.has_message:
        message = f"the body of the request was in an unknown format - accepted media types include: {ACCEPTED_FOR_JSON}"
        raise status_error("UnsupportedMediaType", message)
    else:
        changed = strategic.apply(type(obj), original, patch.body)
    budget.check(changed)
    if not isinstance(changed, dict):
        # A JSON patch may put anything where the whole object was.
        raise refused(patch.type, patch.body, changed, f"couldn't get version/kind; json parse error: {codec.no_object(changed)}")
    mark_reset(changed)
    mark_empty(changed, *names_of(type(obj)))
    if patch.type != "strategic":
        _check_sort(patch, original, changed)
    unknown = codec.UnknownFields(field_validation or "Warn")
    try:
        decoded = form.from_json(changed, codec.UnknownFields.DROP if unknown is codec.UnknownFields.DROP else codec.UnknownFields.WARN)
    except BadRequest as error:
        problem = ""
        if patch.type == "strategic":
            problem = diagnosis.find_problem(obj.DESCRIPTOR, changed, restored=True)
        raise refused(patch.type, patch.body, changed, problem or problem_of(error)) from None
    strays = [] if unknown is codec.UnknownFields.DROP else [*patch.strays, *decoded.warnings]
    if strays and unknown is codec.UnknownFields.REJECT:
        raise refused(patch.type, patch.body, changed, "strict decoding error: " + ", ".join(strays))
    warnings.extend(strays)
    return decoded.message
