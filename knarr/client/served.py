"""What an API server in another process serves, as its clients know it: the built-in resources until it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.message import Message

from knarr.api.apiserver.v1 import resource_service_pb2 as rpc
from knarr.machinery import catalog
from knarr.machinery.custom.form import CustomForm
from knarr.machinery.custom.objects import custom_class
from knarr.machinery.packing import JSON_NAME
from knarr.machinery.resources import Registry, Resource, Route, Subresource, Version
from knarr.machinery.type_names import message_named


class ServedResources:
    """Not thread-safe. ``registry`` is what is known now; ``learn`` takes what the server answers."""

    def __init__(self) -> None:
        self.registry = catalog.registry()
        self._known: dict[bytes, Resource] = {}

    def learn(self, answer: Iterable[rpc.ApiResource]) -> Sequence[Resource]:
        """The resources of an answer; each stays the same object for as long as it is told in the same words."""
        found = {described.SerializeToString(deterministic=True): described for described in answer}
        self._known = {
            key: resource for key, described in found.items() if (resource := self._known.get(key) or resource_of(described)) is not None
        }
        self.registry = Registry(tuple(self._known.values()))
        return list(self._known.values())


def resource_of(described: rpc.ApiResource) -> Resource | None:
    """The resource with those of its versions whose messages this process has; None when it has none of them.

    Nothing is converted here: every version is read and written as the server gives it.
    """
    versions = [version for found in described.versions if (version := _version(found)) is not None]
    if not versions:
        return None
    group = described.versions[0].group
    return Resource(
        described.plural,
        tuple(versions),
        namespaced=described.namespaced,
        singular=described.singular,
        short_names=tuple(described.short_names),
        categories=tuple(described.categories),
        # Where the server keeps it is its own affair; here it only must be nobody else's.
        key=f"{group}/{described.plural}" if group else described.plural,
        verbs=tuple(described.verbs),
        subresources=tuple(sub for found in described.subresources if (sub := _subresource(found)) is not None),
    )


def _version(described: rpc.ApiVersion) -> Version | None:
    names = described.group, described.version, described.kind
    if described.message == JSON_NAME:
        custom = custom_class(f"{described.group}/{described.version}", described.kind)
        return Version(*names, custom, custom, deprecation_warning=described.deprecation_warning, form=CustomForm(custom))
    message = message_named(described.message)
    listed = message_named(described.list_message) if described.list_message else None
    if message is None or (described.list_message and listed is None):
        return None
    return Version(*names, message, listed, deprecation_warning=described.deprecation_warning)


def _subresource(described: rpc.ApiSubresource) -> Subresource | None:
    body: type[Message] | None = message_named(described.message) if described.message else None
    if described.message and body is None:
        return None
    return Subresource(described.name, tuple(described.verbs), body, Route(described.route))
