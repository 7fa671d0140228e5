"""The request pipeline: what both faces call, and the only code that decides.

Order for a write: authenticate (the face) → authorize → decode (the face, or here for a patch) →
default → admit → validate → encode → one etcd transaction → reply. Faces translate; they hold no
rule. Every method raises ``StatusError``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.kinds import Kind
from knarr.service.authentication import User
from services.apiserver.entry import Entry


@dataclass(frozen=True, slots=True)
class Ref:
    """A collection (no ``name``) or one object, with an optional sub-resource. ``user`` asks."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    user: User = User.ANONYMOUS


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. All pages of one list carry the same ``revision``."""

    entries: Sequence[Entry]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK; a bookmark has no entry.

    ``initial_events_end`` marks the bookmark that closes the initial list of a WatchList.
    """

    type: str
    revision: int
    entry: Entry | None = None
    initial_events_end: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a write. ``message`` is what to answer: the object, a Scale, a Status …

    ``entry`` is set when the answer is the stored object itself (its bytes are ready made).
    """

    message: Message
    entry: Entry | None = None
    created: bool = False
    warnings: Sequence[str] = field(default=())


class Api:
    """Reads, writes and watches for both faces. The constructor takes the store and the cache."""

    async def get(self, ref: Ref, resource_version: str = "") -> Written:
        """One object or sub-resource."""
        raise NotImplementedError

    async def list(self, ref: Ref, options: meta.ListOptions) -> Page:
        """A collection, by selectors, in pages when ``options.limit`` is set."""
        raise NotImplementedError

    def watch(self, ref: Ref, options: meta.ListOptions) -> AsyncIterator[Sequence[Event]]:
        """Batches of changes; raises Expired when the revision is compacted, ends at timeoutSeconds."""
        raise NotImplementedError

    async def create(self, ref: Ref, obj: Message, options: meta.CreateOptions) -> Written:
        """A new object; ``ref.name`` and ``ref.subresource`` for binding and eviction."""
        raise NotImplementedError

    async def update(self, ref: Ref, obj: Message, options: meta.UpdateOptions) -> Written:
        raise NotImplementedError

    async def patch(self, ref: Ref, patch_type: str, patch: bytes, options: meta.PatchOptions) -> Written:
        """``patch_type`` is ``json``, ``merge``, ``strategic`` or ``apply``; ``patch`` is JSON."""
        raise NotImplementedError

    async def delete(self, ref: Ref, options: meta.DeleteOptions) -> Written:
        """Answers the object while it still exists, else a Status of success."""
        raise NotImplementedError

    async def delete_collection(self, ref: Ref, options: meta.DeleteOptions, selection: meta.ListOptions) -> Page:
        raise NotImplementedError
