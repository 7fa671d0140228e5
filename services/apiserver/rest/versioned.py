"""Which ``apiVersion`` and ``kind`` a body must have."""

from __future__ import annotations

from google.protobuf.message import Message

from knarr.machinery.type_names import api_version_and_kind


def version_and_kind(message: type[Message]) -> tuple[str, str]:
    """``("autoscaling/v1", "Scale")`` of a message type."""
    names = api_version_and_kind(message.DESCRIPTOR)
    if names is None:
        raise TypeError(f"{message.DESCRIPTOR.full_name} is no kind")
    return names
