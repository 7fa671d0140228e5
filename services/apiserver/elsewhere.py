"""The resources that other API servers serve, for who asks for them here by gRPC: controllers that empty a namespace, collect garbage,
scale by metrics.

Nothing of them is kept; what is asked is asked there. REST passes requests on as they are, and has no need of this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from typing import Any, Protocol

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.machinery.errors import StatusError, error_of, status_error
from knarr.machinery.resources import Registry, Resource, Version
from knarr.service.authentication import User
from services.apiserver.authorization import imagined
from services.apiserver.results import Ref

# Given a version, a method, a path with its query, a body of JSON or none, and who asks: what is answered there. Raises StatusError.
Ask = Callable[[Version, str, str, bytes, User], Coroutine[Any, Any, bytes]]


class Lines(Protocol):
    """An answer that goes on. Close it."""

    def lines(self) -> AsyncGenerator[bytes, None]:
        """Raises StatusError where it breaks off."""
        ...

    async def close(self) -> None: ...


# Given a version, a path with its query, and who asks: the answer, line by line. Raises StatusError.
Follow = Callable[[Version, str, User], Coroutine[Any, Any, Lines]]


# How long a watch of theirs is asked to last.
FOLLOW_SECONDS = 600
# Of all other servers together; those beyond are not known here. So many are entered in some 30 ms, while nobody else is served.
MAX_RESOURCES = 500


async def _nobody(version: Version, method: str, path: str, body: bytes, user: User) -> bytes:
    raise status_error("ServiceUnavailable", f"nobody serves {version.qualified} {version.version} any more")


async def _silence(version: Version, path: str, user: User) -> Lines:
    raise status_error("ServiceUnavailable", f"nobody serves {version.qualified} {version.version} any more")


class Elsewhere:
    """``ask`` and ``follow`` are set by whoever knows the other servers, and so is what they serve."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.ask: Ask = _nobody
        self.follow: Follow = _silence
        # Given a group, which of its versions is asked for first; None where nobody serves it.
        self.version_of: Callable[[str], str | None] = lambda group: None
        self._served: list[Resource] = []

    def serve(self, resources: Iterable[Resource]) -> None:
        """From now on these are all. What is called like one that came before it in its group is left out."""
        found: dict[tuple[str, str], Resource] = {}
        for resource in resources:
            found.setdefault((resource.storage.group, resource.plural), resource)
            if len(found) == MAX_RESOURCES:
                break
        if list(map(id, found.values())) == list(map(id, self._served)):
            # Something else has changed of those servers.
            return
        self._served = list(found.values())
        registry = Registry()
        for resource in found.values():
            # Two of a server that have one kind: clients could not tell them apart.
            if registry.named(resource.storage.group, resource.storage.version, resource.storage.kind) is None:
                registry.add(resource)
        self.registry = registry

    def beside(self, own: Registry) -> list[Resource]:
        """Those that are not hidden by one of this server's own."""
        return [
            resource
            for resource in self.registry
            if own.preferred(resource.storage.group, resource.plural) is None
            and own.named(resource.storage.group, resource.storage.version, resource.storage.kind) is None
        ]

    def ref(self, group: str, version: str, plural: str, namespace: str, name: str, subresource: str) -> Ref:
        """What has no objects: whether it is there, only the other server knows. Without a version where nobody serves the group."""
        return Ref(imagined(group, plural, version or self.version_of(group) or ""), namespace, name, subresource)

    def __contains__(self, resource: Resource) -> bool:
        return not resource.stored and resource in self.registry


def refusal_of(body: bytes, status: int = 0) -> StatusError:
    """What another server says that refuses, if it is a Status; ``status`` is that of HTTP."""
    try:
        found = codec.from_json(meta.Status, body).message
    except StatusError:
        found = meta.Status()
    if not found.reason:
        return status_error("ServiceUnavailable", f"the other server answered {status}" if status else "the other server ended a watch")
    return error_of(found)
