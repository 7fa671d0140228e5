"""What ``managedFields`` say, in a form that a test can compare."""

from __future__ import annotations

from typing import Any

import orjson

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.fieldsets import fields as sets


def managers(obj: Any) -> list[str]:
    """Who has an entry, in order: ``kubectl Update apps/v1``, ``kubectl Apply apps/v1 status``."""
    return [line(entry) for entry in obj.metadata.managed_fields]


def line(entry: meta.ManagedFieldsEntry) -> str:
    return " ".join(part for part in (entry.manager, entry.operation, entry.api_version, entry.subresource) if part)


def owned(obj: Any) -> dict[str, list[str]]:
    """By manager as ``managers`` names them: the paths of what it owns."""
    found = ((line(entry), sets.decode(entry.fields_v1.raw)) for entry in obj.metadata.managed_fields)
    return {name: [sets.spoken(path) for path in sets.paths(fields)] for name, fields in found}


def entry(manager: str, fields: Any, *, operation: str = "Update", version: str = "v1", seconds: int = 1) -> meta.ManagedFieldsEntry:
    made = meta.ManagedFieldsEntry(manager=manager, operation=operation, api_version=version, fields_type="FieldsV1")
    made.fields_v1.raw = orjson.dumps(fields)
    made.time.seconds = seconds
    return made
