"""What the contracts say about each message and field beyond the wire: the schema options, read once.

The codec, the patches and OpenAPI look at the object model through this module alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from knarr.api.options.v1 import options_pb2 as options

Form = options.JsonForm
_MESSAGE: Any = options.message
_FIELD: Any = options.field

INTEGERS = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}
# Strings of a type of their own, which a named type in the tables would say of each.
UIDS = frozenset({"uid", "podUID", "nodeUID", "serviceAccountUID"})
SCALARS = {
    **INTEGERS,
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "[]uint8",
    FieldDescriptor.TYPE_DOUBLE: "float64",
    FieldDescriptor.TYPE_FLOAT: "float32",
}
# Kinds whose names end like those of the templates inside objects.
TEMPLATE_KINDS = ("PodTemplate", "ResourceClaimTemplate")
METADATA_TYPES = ("knarr.api.meta.v1.ObjectMeta", "knarr.api.meta.v1.ListMeta")


@dataclass(frozen=True)
class Field:
    """One field: its descriptor and what its options say."""

    descriptor: FieldDescriptor
    name: str
    json_name: str
    pointer: bool
    omitempty: bool
    inline: bool
    optional: bool
    patch_strategy: tuple[str, ...]
    patch_merge_key: str
    list_type: str
    list_map_keys: tuple[str, ...]
    map_type: str
    default_json: str
    type_name: str
    # All values that a string may have; empty where others are good too.
    enum_values: tuple[str, ...]
    description: str

    @cached_property
    def is_map(self) -> bool:
        message = self.descriptor.message_type
        return message is not None and bool(message.GetOptions().map_entry)

    @cached_property
    def is_list(self) -> bool:
        return bool(self.descriptor.is_repeated) and not self.is_map

    @cached_property
    def element(self) -> FieldDescriptor:
        """What one value is: the value of a map, the element of a list, or the field itself."""
        entry = self.descriptor.message_type
        return entry.fields_by_name["value"] if entry is not None and self.is_map else self.descriptor

    @cached_property
    def message(self) -> Descriptor | None:
        """The message type of one value, if it is one."""
        return self.element.message_type

    @cached_property
    def is_struct(self) -> bool:
        """A single message that JSON always writes: no pointer, no list, no map."""
        return self.message is not None and not self.is_list and not self.is_map and not self.pointer


def descriptor_of(message: Message | type[Message]) -> Descriptor:
    """The descriptor of a message or its type."""
    found: Any = message.DESCRIPTOR
    return cast(Descriptor, found)


@cache
def form_of(message: Descriptor) -> int:
    """The JSON form of a message (``Form``)."""
    return int(message.GetOptions().Extensions[_MESSAGE].json_form)


@cache
def description_of(message: Descriptor) -> str:
    return str(message.GetOptions().Extensions[_MESSAGE].description)


@cache
def map_type_of(message: Descriptor) -> str:
    """``atomic`` for a message that one manager owns as a whole; empty for one whose fields have owners of their own."""
    return str(message.GetOptions().Extensions[_MESSAGE].map_type)


@cache
def fields_of(message: Descriptor) -> tuple[Field, ...]:
    """The fields of a message in the order of the contract."""
    return tuple(_field(descriptor) for descriptor in message.fields)


@cache
def json_fields(message: Descriptor) -> dict[str, tuple[tuple[str, ...], Field]]:
    """JSON name → (names of the inlined messages on the way, field): the flat view that JSON has of a message."""
    found: dict[str, tuple[tuple[str, ...], Field]] = {}
    for field in fields_of(message):
        if field.inline and field.message is not None:
            for name, (path, inner) in json_fields(field.message).items():
                found[name] = ((field.name, *path), inner)
        else:
            found[field.json_name] = ((), field)
    return found


def schema_of(message: Descriptor) -> Descriptor:
    """The message of the field ``schema`` that each SCHEMA_OR form has."""
    found = message.fields_by_name["schema"].message_type
    assert found is not None
    return found


@cache
def is_object(message: Descriptor) -> bool:
    """Whether the message is a kind of object or list, which may carry ``apiVersion`` and ``kind`` in JSON."""
    metadata = message.fields_by_name.get("metadata")
    if metadata is None or metadata.message_type is None or metadata.message_type.full_name not in METADATA_TYPES:
        return False
    return message.name in TEMPLATE_KINDS or not message.name.endswith(("Template", "TemplateSpec"))


def go_type(field: Field) -> str:
    """The field's type as Kubernetes' decoding errors name it."""
    text = go_element_type(field)
    if field.is_map:
        return f"map[string]{text}"
    return f"[]{text}" if field.is_list else text


def go_element_type(field: Field) -> str:
    if field.message is not None:
        package = {"Quantity": "resource", "IntOrString": "intstr"}.get(field.message.name, "v1")
        return f"{package}.{field.message.name}"
    if field.json_name in UIDS and field.element.type == FieldDescriptor.TYPE_STRING:
        return "types.UID"
    if field.type_name and not field.is_map:
        return f"v1.{field.type_name}"
    return SCALARS[field.element.type]


def _field(descriptor: FieldDescriptor) -> Field:
    schema: Any = descriptor.GetOptions().Extensions[_FIELD]
    return Field(
        descriptor=descriptor,
        name=descriptor.name,
        json_name=descriptor.json_name,
        pointer=schema.pointer,
        omitempty=schema.omitempty,
        inline=schema.inline,
        optional=schema.optional,
        patch_strategy=tuple(part for part in schema.patch_strategy.split(",") if part),
        patch_merge_key=schema.patch_merge_key,
        list_type=schema.list_type,
        list_map_keys=tuple(schema.list_map_keys),
        map_type=schema.map_type,
        default_json=schema.default_json,
        type_name=schema.type_name,
        enum_values=tuple(schema.enum_values),
        description=schema.description,
    )
