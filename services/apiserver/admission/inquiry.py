"""A request as those look at it who may be asked about it: webhooks and policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import not_found
from knarr.machinery.resources import Version
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.facts import facts_of
from services.apiserver.admission.matching import Match, is_namespaces, own_labels, place_of
from services.apiserver.admission.outside import Outside
from services.apiserver.admission.shown import Json, Shown
from services.apiserver.backend import Backend
from services.apiserver.entry import Entry
from services.apiserver.results import Ref

if TYPE_CHECKING:
    from services.apiserver.admission.expressions import Scene

NAMESPACE = version_of(core.Namespace)


class Inquiry:
    """Of one phase of one request: what is made of it for one of them is there for all."""

    def __init__(self, backend: Backend, outside: Outside, attributes: Attributes) -> None:
        self.backend, self.outside, self.attributes = backend, outside, attributes
        self.shown = Shown(attributes, outside)
        self._facts: dict[Version, Json] = {}

    async def version(self, match: Match) -> Version | None:
        """The version in which the request is looked at by who means such requests; None if it is not meant. Raises StatusError where
        that cannot be told."""
        attributes = self.attributes
        version = match.version(attributes.operation, attributes.request.ref.version, attributes.subresource, attributes.name)
        if version is None or not match.selects(attributes, await self._namespace_labels(match)):
            return None
        return version

    def facts(self, version: Version) -> Json:
        if version not in self._facts:
            self._facts[version] = facts_of(self.attributes, version)
        return self._facts[version]

    def scene(self, version: Version, **more: Any) -> Scene:
        """The request as expressions see it, with ``more`` variables."""
        # What it stands on is only loaded by those who have expressions.
        from services.apiserver.admission.expressions import Scene

        return Scene(self.shown, self.outside, version, self.facts(version), self.backend.cache.registry, more)

    async def namespace(self) -> Json | None:
        """The namespace that the request is in, as expressions see it; None where it is in none. Raises NotFound."""
        from services.apiserver.admission.expressions import namespace_shown

        attributes = self.attributes
        if not attributes.namespace or is_namespaces(attributes.resource):
            return None
        entry = await self._namespace(attributes.namespace)
        return namespace_shown(NAMESPACE.form.to_dict(entry.shared_message))

    async def _namespace_labels(self, match: Match) -> Mapping[str, str] | None:
        """The labels that a namespace selector is held against; None where there is no namespace, or nobody asks. Raises NotFound."""
        if match.namespaces.everything:
            return None
        own = own_labels(self.attributes)
        if own is not None:
            return own
        name = place_of(self.attributes)
        return (await self._namespace(name)).labels if name else None

    async def _namespace(self, name: str) -> Entry:
        backend, deadline = self.backend, self.attributes.request.deadline
        entry = backend.cached(NAMESPACE.resource, "", name) or await backend.current(Ref(NAMESPACE, name=name), deadline)
        if entry is None:
            raise not_found("namespaces", name)
        return entry
