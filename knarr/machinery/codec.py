"""JSON ↔ protobuf with Go's rules, derived from the descriptors and precompiled per message type."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


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


def from_json(message_type: type[M], data: bytes | dict[str, Any], unknown: UnknownFields = UnknownFields.DROP) -> Decoded[M]:
    """Decodes JSON text or a parsed object. Raises StatusError BadRequest in Kubernetes' words."""
    raise NotImplementedError


def to_dict(message: Message) -> dict[str, Any]:
    """The JSON object of a message; with apiVersion and kind when its type is a registered kind."""
    raise NotImplementedError


def to_json(message: Message) -> bytes:
    """``to_dict`` as JSON text."""
    raise NotImplementedError
