"""The schemas of messages, and of versions that have no message: the part of the model that both renderings share.

They are OpenAPI v3 as Kubernetes writes it (references in ``allOf``, both forms of a quantity); ``v2`` takes away what it cannot say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.runtime.v1 import runtime_pb2 as runtime
from knarr.machinery.openapi import names
from knarr.machinery.resources import Version
from knarr.machinery.schema import Field, Form, description_of, descriptor_of, form_of, json_fields, map_type_of
from knarr.machinery.type_names import api_version_and_kind

Json = dict[str, Any]

REFERENCE = "#/components/schemas/"
KINDS = "x-kubernetes-group-version-kind"
SCALARS: dict[int, Json] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_INT64: {"type": "integer", "format": "int64"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
}
FORMS: dict[int, Json] = {
    Form.JSON_FORM_QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    Form.JSON_FORM_INT_OR_STRING: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    Form.JSON_FORM_TIME: {"type": "string", "format": "date-time"},
    Form.JSON_FORM_MICRO_TIME: {"type": "string", "format": "date-time"},
    Form.JSON_FORM_DURATION: {"type": "string"},
    Form.JSON_FORM_RAW: {"type": "object"},
    Form.JSON_FORM_LIST: {"type": "array", "items": {"type": "string"}},
    Form.JSON_FORM_SCHEMA_OR_ARRAY: {},
    Form.JSON_FORM_SCHEMA_OR_BOOL: {},
    Form.JSON_FORM_SCHEMA_OR_STRING_ARRAY: {},
}
# Raw JSON that is any value, not only an object.
ANY_VALUE = "knarr.api.apiextensions.v1.JSON"
# Options that every group has in its own name, as well as the core group.
SHARED_KINDS = ("knarr.api.meta.v1.DeleteOptions",)
VERSION_INFO = ("major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform")
# "APIVersion defines" and "Standard object's metadata" are looked for by Kubernetes' conformance suite in what kubectl explains.
METADATA = "Standard object's metadata: its name, namespace, labels and the like."
TYPE_META: Json = {
    "apiVersion": {"type": "string", "description": "APIVersion defines the group and version that this object is written in."},
    "kind": {"type": "string", "description": "The kind of object."},
}


class Schemas:
    """The schemas that a document refers to, by name; asking for a reference adds what it refers to.

    ``pairs`` are the groups and versions that the document is about.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.found: Json = {}
        # Names of those that versions say themselves.
        self.custom: set[str] = set()
        self._pairs = sorted({("", "v1"), *pairs})

    def message(self, message: Descriptor) -> Json:
        """A reference to the schema of a message."""
        name = names.message_name(message)
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self._schema(message)
        return {"$ref": REFERENCE + name}

    def version(self, version: Version, *, listed: bool = False) -> Json:
        """A reference to the schema of a version's objects, or of a list of them."""
        if version.openapi is None:
            return self.message(descriptor_of(version.listed if listed else version.message))
        name = names.version_name(version, listed=listed)
        if name not in self.found:
            self.custom.add(name)
            self.found[name] = {}
            self.found[name] = self._custom_list(version) if listed else self._custom(version)
        return {"$ref": REFERENCE + name}

    def patch(self) -> Json:
        """The body of a patch: any object or list."""
        return self._fixed(names.PATCH, {"type": "object", "description": "A patch in one of the listed content types."})

    def watch_event(self) -> Json:
        """What each frame of a watch holds."""
        properties = {
            "object": {"allOf": [self.message(descriptor_of(runtime.RawExtension))], "description": "The object, or a Status."},
            "type": {"type": "string", "description": "ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."},
        }
        kinds = [kind_of(*pair, "WatchEvent") for pair in self._pairs]
        event = {"type": "object", "description": "One change.", "required": ["type", "object"], "properties": properties, KINDS: kinds}
        return self._fixed(names.WATCH_EVENT, event)

    def version_info(self) -> Json:
        """What /version answers."""
        text = {name: {"type": "string"} for name in VERSION_INFO}
        return self._fixed(
            names.VERSION_INFO, {"type": "object", "description": "Who serves.", "required": list(VERSION_INFO), "properties": text}
        )

    def _fixed(self, name: str, schema: Json) -> Json:
        self.found[name] = schema
        return {"$ref": REFERENCE + name}

    def _schema(self, message: Descriptor) -> Json:
        described = {"description": description_of(message)} if description_of(message) else {}
        form = form_of(message)
        if form != Form.JSON_FORM_UNSPECIFIED:
            return described if message.full_name == ANY_VALUE else {**described, **FORMS[form]}
        schema: Json = {**described, "type": "object"}
        kind = api_version_and_kind(message)
        fields = json_fields(message)
        properties = {**(TYPE_META if kind else {}), **{name: self._property(field) for name, (_, field) in fields.items()}}
        if properties:
            schema["properties"] = dict(sorted(properties.items()))
        required = [name for name, (_, field) in fields.items() if not (field.optional or field.omitempty)]
        if required:
            schema["required"] = sorted(required)
        if kind:
            schema[KINDS] = self._kinds(message, *kind)
        if map_type_of(message):
            schema["x-kubernetes-map-type"] = map_type_of(message)
        return schema

    def _kinds(self, message: Descriptor, api_version: str, kind: str) -> list[Json]:
        group, _, version = api_version.rpartition("/")
        pairs = self._pairs if message.full_name in SHARED_KINDS else [(group, version)]
        return [kind_of(*pair, kind) for pair in pairs]

    def _property(self, field: Field) -> Json:
        found: Json = {"description": field.description} if field.description else {}
        one = self._value(field)
        if field.enum_values:
            one["enum"] = list(field.enum_values)
        if field.is_map:
            found |= {"type": "object", "additionalProperties": {"allOf": [one]} if "$ref" in one else one}
        elif field.is_list:
            found |= {"type": "array", "items": {"allOf": [one]} if "$ref" in one else one}
        elif "$ref" in one:
            found["allOf"] = [one]
        else:
            found |= one
        if field.default_json:
            found["default"] = json.loads(field.default_json)
        return found | _extensions(field)

    def _value(self, field: Field) -> Json:
        """The schema of one value of a field. What is a list in JSON has no schema of its own."""
        if field.message is None:
            return dict(SCALARS[field.element.type])
        if form_of(field.message) == Form.JSON_FORM_LIST:
            return dict(FORMS[Form.JSON_FORM_LIST])
        return self.message(field.message)

    def _custom(self, version: Version) -> Json:
        """What a version says of its objects itself, with what every object has."""
        assert version.openapi is not None
        schema: Json = self._with_embedded(version.openapi())
        properties = schema.get("properties") or {}
        schema["properties"] = {**properties, **TYPE_META, "metadata": self._metadata()}
        return {"type": "object", **schema, KINDS: [kind_of(version.group, version.version, version.kind)]}

    def _custom_list(self, version: Version) -> Json:
        items = {"type": "array", "items": {"allOf": [self.version(version)]}, "description": "The objects of the list."}
        metadata = {"allOf": [self.message(descriptor_of(meta.ListMeta))]}
        return {
            "type": "object",
            "description": f"A list of objects of kind {version.kind}.",
            "required": ["items"],
            "properties": {**TYPE_META, "items": items, "metadata": metadata},
            KINDS: [kind_of(version.group, version.version, version.list_kind)],
        }

    def _with_embedded(self, schema: Any) -> Any:
        """A copy in which embedded objects have what every object has."""
        if isinstance(schema, list):
            return [self._with_embedded(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        found = {name: self._with_embedded(item) for name, item in schema.items()}
        if found.get("x-kubernetes-embedded-resource") is True:
            found["properties"] = {**(found.get("properties") or {}), **TYPE_META, "metadata": self._metadata()}
        return found

    def _metadata(self) -> Json:
        return {"allOf": [self.message(descriptor_of(meta.ObjectMeta))], "description": METADATA}


def kind_of(group: str, version: str, kind: str) -> Json:
    return {"group": group, "kind": kind, "version": version}


def _extensions(field: Field) -> Json:
    found: Json = {}
    if field.patch_strategy:
        found["x-kubernetes-patch-strategy"] = ",".join(field.patch_strategy)
    if field.patch_merge_key:
        found["x-kubernetes-patch-merge-key"] = field.patch_merge_key
    if field.list_type:
        found["x-kubernetes-list-type"] = field.list_type
    if field.list_map_keys:
        found["x-kubernetes-list-map-keys"] = list(field.list_map_keys)
    if field.map_type:
        found["x-kubernetes-map-type"] = field.map_type
    return found
