"""Objects as gRPC carries them: a message as itself, a custom object as a ``runtime.Unknown`` that holds its JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from knarr.api.runtime.v1 import runtime_pb2 as runtime
from knarr.machinery.custom.objects import CustomObject
from knarr.machinery.schema import descriptor_of

M = TypeVar("M", bound=Message)

TYPE_URL_PREFIX = "type.googleapis.com/"
JSON = "application/json"
# Where the name of a message is asked for, and the objects have none.
JSON_NAME = descriptor_of(runtime.Unknown).full_name


def message_name(message: type[Message]) -> str:
    """What objects of a class travel as."""
    return JSON_NAME if issubclass(message, CustomObject) else str(message.DESCRIPTOR.full_name)


def packed(message: type[Message], value: bytes) -> AnyMessage:
    """An object of a class, as it is kept with its resourceVersion: serialized, or JSON."""
    if issubclass(message, CustomObject):
        api_version, kind = message.names
        unknown = runtime.Unknown(raw=value, content_type=JSON)
        unknown.type_meta.api_version, unknown.type_meta.kind = api_version, kind
        value = unknown.SerializeToString()
    return AnyMessage(type_url=TYPE_URL_PREFIX + message_name(message), value=value)


def json_of(body: AnyMessage) -> bytes:
    """The JSON that a custom object travels as; raises DecodeError or ValueError for another content."""
    unknown = runtime.Unknown.FromString(body.value)
    if unknown.content_type not in ("", JSON):
        raise ValueError(f"its content is {unknown.content_type}, not {JSON}")
    return unknown.raw


def reader(message: type[M]) -> Callable[[bytes], M]:
    """The function from what an object of a class travels as to the object."""
    if not issubclass(message, CustomObject):
        return message.FromString
    custom: Any = message
    return lambda value: custom.FromString(runtime.Unknown.FromString(value).raw)
