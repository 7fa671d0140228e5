"""JSON ↔ protobuf with Go's rules, derived from the descriptors and precompiled per message type.

The rules: a pointer is absent or written, a value struct is always written, ``omitempty`` hides zero values, a list
or map without it is ``null`` when empty, a zero time is ``null``; int64 are plain numbers, bytes are base64; field names
are case-sensitive and ``null`` means absent. ``encoding`` and ``decoding`` hold the compiled functions, ``diagnosis`` the words
for what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

import orjson
from google.protobuf.message import Message

from knarr.machinery import budget, decoding, diagnosis
from knarr.machinery.encoding import encoder
from knarr.machinery.errors import StatusError, bad_request
from knarr.machinery.schema import descriptor_of
from knarr.machinery.type_names import api_version_and_kind

M = TypeVar("M", bound=Message)
SUMMARY_BYTES = 30


class UnknownFields(Enum):
    """What to do with fields that the type does not have, and with duplicate keys."""

    REJECT = "Strict"
    WARN = "Warn"
    DROP = "Ignore"


@dataclass(frozen=True, slots=True)
class Decoded(Generic[M]):
    """A decoded message and the warnings for its author (``unknown field "spec.foo"``)."""

    message: M
    warnings: list[str] = field(default_factory=list)


def from_json(
    message_type: type[M],
    data: bytes | dict[str, Any],
    unknown: UnknownFields = UnknownFields.DROP,
    parsed: dict[str, Any] | None = None,
    *,
    written: dict[str, Any] | None = None,
) -> Decoded[M]:
    """Decodes JSON text or a parsed object. Raises StatusError BadRequest in Kubernetes' words, RequestEntityTooLarge for a text
    of too many values.

    A parsed object cannot show duplicate keys: who has parsed the text already hands over both, the result as ``parsed``; or, beside
    the object, the same with its ``Duplicates`` as ``written``. ``apiVersion`` and ``kind`` are not compared with the type.
    """
    descriptor = descriptor_of(message_type)
    value = data if isinstance(data, dict) else parsed if isinstance(parsed, dict) else _parse(message_type, data)
    if not isinstance(data, dict):
        budget.check(value, data)
    strays: list[str] = []
    try:
        message = message_type(**decoding.decoder(descriptor)(value, strays))
    except RecursionError:
        raise _refused(message_type, "exceeded max depth") from None
    except decoding.MALFORMED as error:
        problem = diagnosis.find_problem(descriptor, value) or str(error)
        raise _refused(message_type, problem) from None
    if unknown is UnknownFields.DROP:
        return Decoded(message)
    repeated = not isinstance(data, dict) and may_repeat_keys(data, value)
    if not strays and not repeated and written is None:
        return Decoded(message)
    found = diagnosis.find_strays(descriptor, diagnosis.parse_keeping_duplicates(data) if repeated else written or value)  # type: ignore[arg-type]
    if found and unknown is UnknownFields.REJECT:
        raise _refused(message_type, "strict decoding error: " + diagnosis.strict_words(found))
    return Decoded(message, found)


def as_from_json(message: M) -> M:
    """The message as it would be had it come as JSON: values in canonical form, no empty value structs.

    Raises StatusError BadRequest for what JSON refuses, such as a malformed quantity, wherever it stands.
    """
    return from_json(type(message), to_dict(message)).message


def to_dict(message: Message, names: tuple[str, str] | None = None) -> dict[str, Any]:
    """The JSON object of a message; with apiVersion and kind when it is served as such (``names``) or its type is a kind."""
    descriptor = descriptor_of(message)
    value: dict[str, Any] = encoder(descriptor)(message)
    names = names or api_version_and_kind(descriptor)
    return value if names is None else {"kind": names[1], "apiVersion": names[0], **value}


def to_json(message: Message, names: tuple[str, str] | None = None) -> bytes:
    """``to_dict`` as JSON text."""
    return orjson.dumps(to_dict(message, names))


def _parse(message_type: type[Message], text: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        reason = "unexpected end of JSON input" if not text.strip() else str(error)
        raise _unrecognized(message_type, text, reason) from None
    if not isinstance(value, dict):
        raise _unrecognized(message_type, text, f"{no_object(value)} of type v1.{message_type.DESCRIPTOR.name}")
    return value


def no_object(value: Any) -> str:
    """What is said of JSON that is no object where one is wanted."""
    sort = {bool: "bool", str: "string", list: "array", type(None): "null"}.get(type(value), "number")
    return f"json: cannot unmarshal {sort} into Go value"


def may_repeat_keys(text: bytes, value: Any) -> bool:
    """Whether the text may hold more keys than the parsed value; may say yes wrongly, but never no."""
    return b"\\u00" in text or text.count(b'"') != orjson.dumps(value).count(b'"')


def _unrecognized(message_type: type[Message], text: bytes, reason: str) -> StatusError:
    if not text.strip():
        summary = "<empty>"
    elif len(text) > SUMMARY_BYTES:
        summary = text[:SUMMARY_BYTES].decode(errors="replace") + " ..."
    else:
        summary = text.decode(errors="replace")
    name = message_type.DESCRIPTOR.name
    return bad_request(
        f"the object provided is unrecognized (must be of type {name}): couldn't get version/kind; json parse error: {reason} ({summary})"
    )


def _refused(message_type: type[Message], problem: str) -> StatusError:
    name = message_type.DESCRIPTOR.name
    version = (api_version_and_kind(descriptor_of(message_type)) or ("v1", name))[0].rpartition("/")[2]
    return bad_request(f'{name} in version "{version}" cannot be handled as a {name}: {problem}')
