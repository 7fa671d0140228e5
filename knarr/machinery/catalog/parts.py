"""What the entries of several groups are made of."""

from __future__ import annotations

from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.machinery.resources import Conversion, Route, Subresource, Version

STATUS = Subresource("status")
SCALE = Subresource("scale", body=autoscaling.Scale)


def v1(group: str, message: type[Message], list_message: type[Message] | None = None, *, deprecation_warning: str = "") -> Version:
    """The one version that a kind is stored and served in; the kind is called as its message."""
    return Version(group, "v1", message.DESCRIPTOR.name, message, list_message, deprecation_warning=deprecation_warning)


def retired(
    group: str, version: str, message: type[Message], list_message: type[Message], conversion: Conversion, *, since: str, until: str
) -> Version:
    """One that Kubernetes deprecated in release ``since`` and left out from ``until`` on. A registry serves it if told to."""
    kind = message.DESCRIPTOR.name
    warning = f"{group}/{version} {kind} is deprecated in v{since}+, unavailable in v{until}+; use {group}/v1 {kind}"
    return Version(group, version, kind, message, list_message, conversion, warning, served=False)


def proxy(options: type[Message]) -> Subresource:
    """Requests to it are passed on to the object, whatever they are."""
    return Subresource("proxy", verbs=("create", "delete", "get", "patch", "update"), body=options, route=Route.PROXY)
