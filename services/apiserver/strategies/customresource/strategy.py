"""The strategy of one version of a custom resource, made from what its definition says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from knarr.machinery.custom.form import CustomForm
from knarr.machinery.custom.jsonpath import JsonPath, text_of
from knarr.machinery.custom.lists import check_lists, has_unique_lists
from knarr.machinery.custom.objects import CustomObject
from knarr.machinery.custom.rule_runs import check_rules
from knarr.machinery.custom.rules import ROOT, compile_rules
from knarr.machinery.custom.schema import ABSENT
from knarr.machinery.custom.values import compile_values, same
from knarr.machinery.errors import Cause
from knarr.machinery.fieldsets.fields import EMPTY, Fields
from knarr.machinery.validation import qualified_name
from services.apiserver.strategies.customresource.columns import CustomColumn, columns_of
from services.apiserver.strategies.metadata import STANDARD_FINALIZERS
from services.apiserver.strategies.strategy import STATUS, Column, Strategy

# What of the metadata people write: a write to the status does not reach it.
METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
UNCHECKED = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
# What costs no more is done in a few milliseconds; what may cost more is done as if the object were so large.
QUICK_COST, LARGE_BYTES = 10_000, 65 * 1024
# After one of these there is no telling whether a rule would hold.
BLOCKING = ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")


class CustomStrategy(Strategy):
    """What Kubernetes does to custom objects of a version that its definition describes."""

    has_generation = True
    allows_unconditional_update = False
    full_finalizers = False

    def __init__(self, form: CustomForm) -> None:
        schema, described = form.schema, form.described
        assert schema is not None and described is not None, "a server knows what it serves by its definition"
        self._schema = schema
        self._values = compile_values(schema.source, root=True)
        status = schema.source.get("properties", {}).get("status")
        self._status_values = compile_values(status) if status is not None else None
        self._has_lists = has_unique_lists(schema)
        self._rules = compile_rules(schema.source, root=True)
        if self._rules.cost > QUICK_COST:
            form.least_size_bytes = LARGE_BYTES
        self._has_status = described.subresources.HasField("status")
        self.scale = form.scale
        self._columns: tuple[CustomColumn, ...] = columns_of(described)
        self.columns: Sequence[Column] = tuple(found.column for found in self._columns)
        self._selectable = {found.json_path.removeprefix("."): JsonPath(found.json_path) for found in described.selectable_fields}
        self.selectable_field_names = tuple(self._selectable)

    def default(self, obj: CustomObject) -> None:
        self._schema.default(obj.content)

    def prepare_for_create(self, obj: CustomObject) -> None:
        if self._has_status:
            obj.content.pop("status", None)
        obj.metadata.generation = 1

    def prepare_for_update(self, new: CustomObject, old: CustomObject) -> None:
        if self._has_status:
            _take_over("status", new, old)
        new.metadata.generation = old.metadata.generation + (not same(new.content, old.content))

    def prepare_for_status_update(self, new: CustomObject, old: CustomObject) -> None:
        """Besides the status only what others than people write into metadata is taken, as in Kubernetes."""
        status = new.content.get("status", ABSENT)
        kept = new.metadata.managed_fields[:]
        revision = new.metadata.resource_version
        new.CopyFrom(old)
        del new.metadata.managed_fields[:]
        new.metadata.managed_fields.extend(kept)
        new.metadata.resource_version = revision
        new.content.pop("status", None)
        if status is not ABSENT:
            new.content["status"] = status

    def unreached(self, message: type[Message], subresource: str) -> Fields:
        if subresource == "status":
            others = {f"f:{name}": EMPTY for name in self._schema.properties if name != "status"}
            return {**others, "f:metadata": {f"f:{name}": EMPTY for name in METADATA}}
        return STATUS if self._has_status else EMPTY

    def validate_create(self, obj: CustomObject) -> list[Cause]:
        return self._judge(obj, None)

    def validate_update(self, new: CustomObject, old: CustomObject) -> list[Cause]:
        return self._judge(new, old)

    def validate_status_update(self, new: CustomObject, old: CustomObject) -> list[Cause]:
        causes: list[Cause] = []
        if "status" in new.content and self._status_values is not None:
            self._status_values(new.content["status"], old.content.get("status", ABSENT), "status", causes)
        if self.scale is not None:
            causes += self.scale.check_status(new)
        return self._judge_whole(new, old, causes)

    def _judge(self, new: CustomObject, old: CustomObject | None) -> list[Cause]:
        causes: list[Cause] = []
        self._values(new.content, old.content if old is not None else ABSENT, "", causes)
        if self.scale is not None:
            causes += self.scale.check_spec(new) + self.scale.check_status(new)
        return self._judge_whole(new, old, causes)

    def _judge_whole(self, new: CustomObject, old: CustomObject | None, causes: list[Cause]) -> list[Cause]:
        """What concerns more than single values."""
        if self._has_lists:
            before: list[Cause] = []
            if old is not None:
                check_lists(old.content, self._schema, "", before)
            if not before:
                check_lists(new.content, self._schema, "", causes)
        if not self._rules.is_empty:
            if any(cause.reason in BLOCKING for cause in causes):
                causes.append(Cause("FieldValueInvalid", f"Invalid value: null: {UNCHECKED}", ROOT))
            else:
                check_rules(self._rules, _seen(new), _seen(old) if old is not None else ABSENT, "", causes)
        return causes

    def warnings(self, obj: CustomObject) -> list[str]:
        return [words for name in obj.metadata.finalizers for words in _finalizer_warnings(name)]

    def selectable_fields(self, obj: CustomObject) -> Mapping[str, str]:
        return {name: text_of(next(iter(path.find(obj.content)), None)) for name, path in self._selectable.items()}

    def cells(self, obj: CustomObject, now: datetime) -> list[object]:
        whole = obj.to_dict()
        return [found.cell(whole, now) for found in self._columns]


def _seen(obj: CustomObject) -> dict[str, Any]:
    """An object as its rules see it: of its metadata the name alone."""
    api_version, kind = obj.names
    metadata = {"name": obj.metadata.name, "generateName": obj.metadata.generate_name}
    return {"apiVersion": api_version, "kind": kind, "metadata": {name: text for name, text in metadata.items() if text}, **obj.content}


def _finalizer_warnings(name: str) -> list[str]:
    head = f'metadata.finalizers: "{name}": '
    found = [head + words for words in qualified_name(name)]
    if "/" not in name and name not in STANDARD_FINALIZERS:
        more = " including a path (/) to avoid" if "." in name else " to avoid"
        found.append(f"{head}prefer a domain-qualified finalizer name{more} accidental conflicts with other finalizer writers")
    return found


def _take_over(field: str, new: CustomObject, old: CustomObject) -> None:
    if field in old.content:
        new.content[field] = old.content[field]
    else:
        new.content.pop(field, None)
