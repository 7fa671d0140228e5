"""The message types of kinds that are bodies of sub-resources: Scale, Binding, Eviction …"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from google.protobuf.message import Message

from knarr.machinery.kinds import Subresource
from knarr.machinery.type_names import GROUPS, api_version_and_kind

_AREAS = {group: area for area, group in GROUPS.items() if area != "meta"}


@cache
def body_of(subresource: Subresource) -> type[Message]:
    """The message type that a sub-resource's body has; raises KeyError for an unknown group, AttributeError for an unknown kind."""
    area = _AREAS[subresource.group]
    module = import_module(f"knarr.api.{area}.{subresource.version}.{area}_pb2")
    return cast(type[Message], getattr(module, subresource.kind))


def version_and_kind(message: type[Message]) -> tuple[str, str]:
    """``("autoscaling/v1", "Scale")`` of a message type."""
    names = api_version_and_kind(message.DESCRIPTOR)
    if names is None:
        raise TypeError(f"{message.DESCRIPTOR.full_name} is no kind")
    return names
