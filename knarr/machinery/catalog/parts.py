"""What the entries of several groups are made of."""

from __future__ import annotations

from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.machinery.resources import Route, Subresource, Version

STATUS = Subresource("status")
SCALE = Subresource("scale", body=autoscaling.Scale)


def v1(group: str, message: type[Message], list_message: type[Message] | None = None, *, deprecation_warning: str = "") -> Version:
    """The one version that a kind is stored and served in; the kind is called as its message."""
    return Version(group, "v1", message.DESCRIPTOR.name, message, list_message, deprecation_warning=deprecation_warning)


def proxy(options: type[Message]) -> Subresource:
    """Requests to it are passed on to the object, whatever they are."""
    return Subresource("proxy", verbs=("create", "delete", "get", "patch", "update"), body=options, route=Route.PROXY)
