"""The typed client: what every component uses to read and write objects.

``Client`` is a port. ``knarr.client.rpc`` speaks to ``ResourceService``; the apiserver offers an
implementation without a network for a process that holds them all, and for tests on an API server
in memory. Every one of them passes the same conformance suite.

Objects are the generated messages: a message type stands for one version of a resource, as the server's registry has it.
Every method raises ``knarr.machinery.errors.StatusError``.
"""

from __future__ import annotations

import abc
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.machinery.resources import Resource

M = TypeVar("M", bound=Message)

JsonPatch = list[dict[str, Any]]

# Answers how many seconds the call that is made now may take, besides what the client allows itself, or raises a StatusError to refuse it.
# A client with a network asks when it hands the call over.
ALLOWANCE: ContextVar[Callable[[], float]] = ContextVar("allowance", default=lambda: math.inf)

ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"


@dataclass(frozen=True, slots=True)
class ObjectList(Generic[M]):
    """One page of a collection. ``continue_token`` is empty on the last page."""

    items: Sequence[M]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[M]):
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK. The object is shared: read it only."""

    type: str
    object: M


class Client(abc.ABC):
    """Reads, writes and watches objects of every registered kind."""

    @abc.abstractmethod
    async def resources(self) -> Sequence[Resource]:
        """What the server serves now; a resource stays the same object while it does not change.

        Left out is what has no message in this process.
        """

    @abc.abstractmethod
    async def get(self, message: type[M], name: str, namespace: str = "") -> M:
        """Reads one object; NotFound when there is none."""

    @abc.abstractmethod
    async def scale(self, message: type[Message], name: str, namespace: str = "") -> autoscaling.Scale:
        """Reads the ``scale`` sub-resource of an object; NotFound when there is no such object, or objects of its kind have none."""

    @abc.abstractmethod
    async def rescale(self, message: type[Message], scale: autoscaling.Scale) -> autoscaling.Scale:
        """Writes the ``scale`` of the object that it names; Conflict when its resourceVersion is not the stored one."""

    @abc.abstractmethod
    async def ask_elsewhere(
        self, group: str, plural: str, namespace: str = "", name: str = "", subresource: str = "", *, query: Mapping[str, str]
    ) -> bytes:
        """JSON: what the API server of others that serves a group answers about a resource that has no objects, such as a metric.

        ServiceUnavailable where nobody serves the group. The verb is ``get`` with a name, else ``list``.
        """

    @abc.abstractmethod
    async def list(
        self,
        message: type[M],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
    ) -> ObjectList[M]:
        """Reads a collection; an empty namespace means all of them."""

    @abc.abstractmethod
    def watch(
        self,
        message: type[M],
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Sequence[WatchEvent[M]]]:
        """Batches of changes after ``resource_version``; ends or raises when the stream breaks, Expired when it is too old."""

    @abc.abstractmethod
    async def create(self, obj: M, *, subresource: str = "", name: str = "") -> M:
        """Stores a new object; AlreadyExists when its name is taken.

        For a creating sub-resource (``binding``, ``eviction``, ``token``) ``obj`` is that body (``core.Binding``, ``policy.Eviction``,
        ``authentication.TokenRequest``), posted to the object called ``name`` of the resource that has it; it is what is answered, with
        what the server has added, if anything.
        """

    @abc.abstractmethod
    async def update(self, obj: M, *, subresource: str = "") -> M:
        """Replaces an object; Conflict when its resourceVersion is not the stored one."""

    @abc.abstractmethod
    async def patch(
        self,
        message: type[M],
        name: str,
        namespace: str = "",
        *,
        patch: dict[str, Any] | JsonPatch,
        patch_type: str = "merge",
        subresource: str = "",
    ) -> M:
        """``patch_type`` is ``merge``, ``strategic`` or ``json``."""

    @abc.abstractmethod
    async def delete(
        self,
        message: type[M],
        name: str,
        namespace: str = "",
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        """Deletes an object; with ``uid`` or ``resource_version`` only that very one (else Conflict)."""
