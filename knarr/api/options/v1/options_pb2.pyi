from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JsonForm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JSON_FORM_UNSPECIFIED: _ClassVar[JsonForm]
    JSON_FORM_QUANTITY: _ClassVar[JsonForm]
    JSON_FORM_INT_OR_STRING: _ClassVar[JsonForm]
    JSON_FORM_TIME: _ClassVar[JsonForm]
    JSON_FORM_MICRO_TIME: _ClassVar[JsonForm]
    JSON_FORM_DURATION: _ClassVar[JsonForm]
    JSON_FORM_RAW: _ClassVar[JsonForm]
    JSON_FORM_LIST: _ClassVar[JsonForm]
    JSON_FORM_SCHEMA_OR_ARRAY: _ClassVar[JsonForm]
    JSON_FORM_SCHEMA_OR_BOOL: _ClassVar[JsonForm]
    JSON_FORM_SCHEMA_OR_STRING_ARRAY: _ClassVar[JsonForm]
JSON_FORM_UNSPECIFIED: JsonForm
JSON_FORM_QUANTITY: JsonForm
JSON_FORM_INT_OR_STRING: JsonForm
JSON_FORM_TIME: JsonForm
JSON_FORM_MICRO_TIME: JsonForm
JSON_FORM_DURATION: JsonForm
JSON_FORM_RAW: JsonForm
JSON_FORM_LIST: JsonForm
JSON_FORM_SCHEMA_OR_ARRAY: JsonForm
JSON_FORM_SCHEMA_OR_BOOL: JsonForm
JSON_FORM_SCHEMA_OR_STRING_ARRAY: JsonForm
FIELD_FIELD_NUMBER: _ClassVar[int]
field: _descriptor.FieldDescriptor
MESSAGE_FIELD_NUMBER: _ClassVar[int]
message: _descriptor.FieldDescriptor

class FieldSchema(_message.Message):
    __slots__ = ("pointer", "omitempty", "inline", "optional", "patch_strategy", "patch_merge_key", "list_type", "list_map_keys", "default_json", "type_name", "description", "map_type", "enum_values")
    POINTER_FIELD_NUMBER: _ClassVar[int]
    OMITEMPTY_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    PATCH_STRATEGY_FIELD_NUMBER: _ClassVar[int]
    PATCH_MERGE_KEY_FIELD_NUMBER: _ClassVar[int]
    LIST_TYPE_FIELD_NUMBER: _ClassVar[int]
    LIST_MAP_KEYS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_JSON_FIELD_NUMBER: _ClassVar[int]
    TYPE_NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MAP_TYPE_FIELD_NUMBER: _ClassVar[int]
    ENUM_VALUES_FIELD_NUMBER: _ClassVar[int]
    pointer: bool
    omitempty: bool
    inline: bool
    optional: bool
    patch_strategy: str
    patch_merge_key: str
    list_type: str
    list_map_keys: _containers.RepeatedScalarFieldContainer[str]
    default_json: str
    type_name: str
    description: str
    map_type: str
    enum_values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pointer: _Optional[bool] = ..., omitempty: _Optional[bool] = ..., inline: _Optional[bool] = ..., optional: _Optional[bool] = ..., patch_strategy: _Optional[str] = ..., patch_merge_key: _Optional[str] = ..., list_type: _Optional[str] = ..., list_map_keys: _Optional[_Iterable[str]] = ..., default_json: _Optional[str] = ..., type_name: _Optional[str] = ..., description: _Optional[str] = ..., map_type: _Optional[str] = ..., enum_values: _Optional[_Iterable[str]] = ...) -> None: ...

class MessageSchema(_message.Message):
    __slots__ = ("json_form", "description", "map_type")
    JSON_FORM_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MAP_TYPE_FIELD_NUMBER: _ClassVar[int]
    json_form: JsonForm
    description: str
    map_type: str
    def __init__(self, json_form: _Optional[_Union[JsonForm, str]] = ..., description: _Optional[str] = ..., map_type: _Optional[str] = ...) -> None: ...
