"""A plugin that consults those who are configured: webhooks or policies.

What is stored of them is compiled anew when one of them changes; a request costs one look into a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from knarr.machinery.resources import Resource, Version
from services.apiserver.admission.attributes import Attributes
from services.apiserver.admission.inquiry import Inquiry
from services.apiserver.admission.matching import is_exempt
from services.apiserver.admission.outside import Outside
from services.apiserver.backend import Backend
from services.apiserver.entry import Entry
from services.apiserver.storage.keys import collection_prefix


class Concerning(Protocol):
    """A compiled configuration, or a part of one."""

    def may_concern(self, operation: str, version: Version, subresource: str) -> bool:
        """Whether there can be such a request that it is about."""
        ...


C = TypeVar("C", bound=Concerning)


class Configured(Generic[C]):
    """Consults what ``compile`` makes of all objects of some resources, each in the order of their names. It is asked behind the first load
    alone: before it nobody knows what is configured."""

    def __init__(
        self, backend: Backend, outside: Outside | None, resources: Sequence[Resource], compile: Callable[..., Sequence[C]]
    ) -> None:
        self._backend, self._outside = backend, outside or Outside()
        self._resources, self._compile = resources, compile
        self._compiled: Sequence[C] | None = None
        self._concerned: dict[tuple[str, Version, str], Sequence[C]] = {}
        self._listeners: list[Callable[[], None]] = []
        for resource in resources:
            backend.cache.collection(resource).listen(self._changed)
        backend.cache.registry.subscribe(lambda old, new: self._forget())

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` when what is configured has changed."""
        self._listeners.append(listener)

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        """Whether anything is about such requests, whatever the version."""
        return not is_exempt(resource) and any(self._of(operation, version, subresource) for version in resource.versions)

    def inquiry(self, attributes: Attributes) -> Inquiry:
        """For one phase of a request."""
        return Inquiry(self._backend, self._outside, attributes)

    def concerned(self, attributes: Attributes) -> Sequence[C]:
        """Those who may be about a request, in order."""
        return self._of(attributes.operation, attributes.request.ref.version, attributes.subresource)

    def _of(self, operation: str, version: Version, subresource: str) -> Sequence[C]:
        key = operation, version, subresource
        found = self._concerned.get(key)
        if found is None:
            found = self._concerned[key] = [one for one in self._all() if one.may_concern(*key)]
        return found

    def _all(self) -> Sequence[C]:
        if self._compiled is None:
            self._compiled = self._compile(*(self._entries(resource) for resource in self._resources))
        return self._compiled

    def _entries(self, resource: Resource) -> Sequence[Entry]:
        return list(self._backend.cache.collection(resource).listing(collection_prefix(resource)))

    def _changed(self) -> None:
        self._compiled = None
        self._forget()
        for listener in self._listeners:
            listener()

    def _forget(self) -> None:
        """The resources that are served have changed: what is found out about one that is gone goes with it."""
        self._concerned.clear()
