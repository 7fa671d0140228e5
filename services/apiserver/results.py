"""What the pipeline takes and answers: references, pages, events, results of writes.

What is made for every request is a tuple: a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from google.protobuf.message import Message

from knarr.machinery.resources import Resource, Version
from services.apiserver.entries import Entries
from services.apiserver.entry import Entry

NAMESPACES = "namespaces"


class Ref(NamedTuple):
    """A collection (no ``name``) or one object, with an optional sub-resource, in terms of ``version``."""

    version: Version
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def resource(self) -> Resource:
        return self.version.resource

    @property
    def place(self) -> str:
        """The namespace where a request takes place; empty for the cluster. A namespace by its name lies in itself, as in Kubernetes: who
        may see what is in it may be let see it, too."""
        return self.name if self.version.resource.plural == NAMESPACES and not self.version.group else self.namespace


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. All pages of one list carry the same ``revision``."""

    entries: Entries
    revision: int
    continue_token: str = ""
    remaining: int | None = None


class Event(NamedTuple):
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK; a bookmark has no entry.

    ``initial_events_end`` marks the bookmark that closes the initial list of a WatchList.
    """

    type: str
    revision: int
    entry: Entry | None = None
    initial_events_end: bool = False


class Written(NamedTuple):
    """An answer: the object, a Scale, a Status … One of ``answer`` and ``entry`` is set.

    ``entry`` is set when the answer is the stored object itself (its bytes are ready made).
    """

    answer: Message | None = None
    entry: Entry | None = None
    created: bool = False
    warnings: Sequence[str] = ()

    @property
    def message(self) -> Message:
        """The answer as a message; decoded on each call when there is an ``entry``."""
        return self.answer if self.answer is not None else cast(Entry, self.entry).message

    def message_in(self, version: Version) -> Message:
        """The answer as a message, an object in a version of its resource."""
        if self.entry is not None:
            return self.entry.served(version).message
        return cast(Message, version.from_storage(self.answer))
