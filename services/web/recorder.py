"""What the cluster's objects are, and an undo log of how they became so.

Pure but for the clock. The current objects are kept as JSON; of each change, what was there before, compressed. The cluster at a revision
is the current one with what came later undone. Revisions are the API server's, which count over all resources. Of what is forgotten the
earliest revision that can be shown, ``floor``, moves on.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import orjson

from knarr.client.clock import SYSTEM_CLOCK, Clock
from services.web.packed import Held, ObjectKey, Packed, Packer, key_of, revision_of, who

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
# A change beside what it compressed: its fields, its key, its place.
CHANGE_BYTES = 400


@dataclass(frozen=True, slots=True)
class Change:
    """``at`` is when it was heard of, seconds since 1970; ``before`` is None where the object was new."""

    revision: int
    at: float
    type: str
    key: ObjectKey
    writer: str
    before: bytes | None

    @property
    def size(self) -> int:
        return CHANGE_BYTES + len(self.before or b"")

    @property
    def text_before(self) -> bytes | None:
        return None if self.before is None else zlib.decompress(self.before)


class Keeper(Protocol):
    """Who keeps what is remembered beyond the process."""

    def listed(self, resource: str) -> None: ...

    def changed(self, change: Change, after: bytes | None) -> None: ...

    def forgotten(self) -> None: ...


# Is told of each change of what is current: the key and the JSON, None where it is gone.
Listener = Callable[[ObjectKey, bytes | None], None]


class Recorder:
    """For one loop. ``limit_bytes`` and ``limit_seconds`` bound what is remembered beside the current objects."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK, limit_bytes: int = 16 * 1024 * 1024, limit_seconds: float = 24 * 3600.0) -> None:
        self._clock, self._limit_bytes, self._limit_seconds = clock, limit_bytes, limit_seconds
        self._current: dict[str, dict[ObjectKey, Held]] = {}
        # Resources whose history has begun.
        self._begun: set[str] = set()
        # Those whose changes are part of it.
        self._remembered: set[str] = set()
        self._changes: deque[Change] = deque()
        self._bytes = 0
        self._listeners: list[Listener] = []
        self._keeper: Keeper | None = None
        # Resources of which only a former page knows: they are not shown before the API server has listed them to this viewer.
        self._hidden: set[str] = set()
        self.packer = Packer()
        # The earliest revision that can be shown, and the newest that was heard of.
        self.floor = self.latest = 0

    @property
    def remembered_bytes(self) -> int:
        return self._bytes

    @property
    def changes(self) -> Sequence[Change]:
        """The oldest first. Not to be changed."""
        if self._hidden:
            return [change for change in self._changes if change.key.resource not in self._hidden]
        return self._changes

    @property
    def begun(self) -> list[str]:
        """Resources whose history has begun, and is shown."""
        return sorted(self._remembered & self._begun - self._hidden)

    def kept_by(self, keeper: Keeper | None) -> None:
        self._keeper = keeper

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tells ``listener`` of all that changes from now on, until what is returned is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def texts(self, resource: str) -> list[bytes]:
        """The current objects of a resource, as JSON."""
        return [held.text for held in self._shown(resource).values()]

    def objects(self, resource: str, namespace: str = "") -> Iterator[dict[str, Any]]:
        """The same parsed, of one namespace or all."""
        for key, held in self._shown(resource).items():
            if namespace in ("", key.namespace):
                yield orjson.loads(held.text)

    def text(self, key: ObjectKey) -> bytes | None:
        """The JSON of a current object."""
        held = self._shown(key.resource).get(key)
        return None if held is None else held.text

    def get(self, key: ObjectKey) -> dict[str, Any] | None:
        """The same parsed."""
        text = self.text(key)
        return None if text is None else orjson.loads(text)

    def _shown(self, resource: str) -> Mapping[ObjectKey, Held]:
        return {} if resource in self._hidden else self._current.get(resource, {})

    def begin(self, resource: str, objects: list[dict[str, Any]], revision: int, *, remember: bool = True) -> None:
        """The same as ``begin_packed`` of a short list."""
        self.begin_packed(resource, [self.packer.pack(resource, obj) for obj in objects], revision, remember=remember)

    def begin_packed(self, resource: str, objects: list[Packed], revision: int, *, remember: bool = True, at: float | None = None) -> None:
        """Takes a whole list. The first one of a resource is where its history begins; of a later one the differences are changes. One that
        is older than what is known comes of a store that was set back: what was remembered has not been, and history begins anew.
        ``at``: when it was heard of, if not now."""
        hidden = resource in self._hidden
        if remember:
            self._remembered.add(resource)
        self._hidden.discard(resource)
        known = self._current.setdefault(resource, {})
        if any(held.revision > revision for held in known.values()):
            self._forget(revision)
        first = resource not in self._begun
        self._begun.add(resource)
        told = {obj.key for obj in objects}
        for key in [key for key in known if key not in told]:
            self._remove(key, revision, remember and not first, at)
        for obj in objects:
            self._hold(obj, remember and not first, at)
        if first:
            self.floor = max(self.floor, revision)
        self.latest = max(self.latest, revision)
        if self._keeper is not None and remember and (first or hidden):
            self._keeper.listed(resource)

    def replay_list(self, resource: str, objects: list[dict[str, Any]], revision: int, at: float) -> None:
        """What a former page has kept of a list. It is not shown before there is one of this page's own."""
        self.begin_packed(resource, [self.packer.pack(resource, obj) for obj in objects], revision, at=at)
        self._hidden.add(resource)

    def replay_change(self, key: ObjectKey, event: str, revision: int, at: float, writer: str, obj: dict[str, Any] | None) -> None:
        """The same of a change; ``obj`` is None where the object is gone. Without a list before it, it tells nothing."""
        if key.resource not in self._hidden:
            return
        if obj is None:
            self._remove(key, revision, True, at)
        else:
            self._hold(self.packer.pack(key.resource, obj), True, at, writer)

    def conceal(self, resource: str) -> None:
        """The viewer may not see a resource any more: what is known of it, and was, is forgotten."""
        self._begun.discard(resource)
        self._hidden.discard(resource)
        gone = self._current.pop(resource, {})
        kept = [change for change in self._changes if change.key.resource != resource]
        known = bool(gone) or len(kept) < len(self._changes)
        self._changes = deque(kept)
        self._bytes = sum(change.size for change in kept)
        for key in gone:
            self._told(key, None, self.latest)
        if known and self._keeper is not None:
            self._keeper.forgotten()

    def _forget(self, revision: int) -> None:
        """All that was before; of what is, only what the objects are, so that any revision of them is newer."""
        self._begun.clear()
        # The API server has not said that the viewer may see these.
        for resource in self._hidden:
            self._current.pop(resource, None)
        self._hidden.clear()
        self._changes.clear()
        self._bytes = 0
        self.floor = self.latest = revision
        for objects in self._current.values():
            objects.update({key: replace(held, revision=-1) for key, held in objects.items()})
        if self._keeper is not None:
            self._keeper.forgotten()

    def take(self, resource: str, event: str, obj: dict[str, Any], *, remember: bool = True) -> None:
        """One event of a watch. Without ``remember`` it only becomes current."""
        if event == DELETED:
            self._remove(key_of(resource, obj), revision_of(obj), remember)
        else:
            self._hold(self.packer.pack(resource, obj), remember)

    def at(self, revision: int) -> dict[str, list[bytes]]:
        """The JSON of all objects as they were, by resource. Raises LookupError for what is forgotten."""
        if revision < self.floor:
            raise LookupError(f"revision {revision} is forgotten; the earliest is {self.floor}")
        then: dict[ObjectKey, Held | Change] = {key: held for resource in self._current for key, held in self._shown(resource).items()}
        # The earliest of an object's later changes has what it was; the others are not unpacked.
        for change in reversed(self.changes):
            if change.revision > revision:
                then[change.key] = change
        found: dict[str, list[bytes]] = {resource: [] for resource in self._current}
        for key, source in then.items():
            if (text := source.text_before if isinstance(source, Change) else source.text) is not None:
                found[key.resource].append(text)
        return found

    def change(self, revision: int) -> tuple[Change, bytes | None]:
        """What a revision changed, and the object's JSON after it. Raises LookupError where it is not remembered."""
        later: dict[ObjectKey, Change] = {}
        for change in reversed(self.changes):
            if change.revision == revision:
                return change, later[change.key].text_before if change.key in later else self.text(change.key)
            later[change.key] = change
        raise LookupError(f"revision {revision} is not remembered; what is goes from {self.floor} to {self.latest}")

    def _hold(self, obj: Packed, remember: bool, at: float | None = None, writer: str | None = None) -> None:
        key, held = obj.key, obj.held
        known = self._current.setdefault(key.resource, {})
        before = known.get(key)
        if before is not None and before.revision >= held.revision:
            return
        known[key] = held
        if remember:
            by = who(before, obj) if writer is None else writer
            self._note(held.revision, ADDED if before is None else MODIFIED, key, by, before, held.text, at)
        self._told(key, held.text, held.revision)

    def _remove(self, key: ObjectKey, revision: int, remember: bool, at: float | None = None) -> None:
        before = self._current.get(key.resource, {}).pop(key, None)
        if before is None:
            return
        if remember:
            self._note(revision, DELETED, key, "", before, None, at)
        self._told(key, None, revision)

    def _told(self, key: ObjectKey, text: bytes | None, revision: int) -> None:
        self.latest = max(self.latest, revision)
        for listener in self._listeners:
            listener(key, text)

    def _note(
        self, revision: int, event: str, key: ObjectKey, writer: str, before: Held | None, after: bytes | None, at: float | None
    ) -> None:
        self.latest = max(self.latest, revision)
        now = self._clock.now().timestamp()
        change = Change(revision, now if at is None else at, event, key, writer, None if before is None else zlib.compress(before.text, 1))
        self._changes.append(change)
        self._bytes += change.size
        if self._keeper is not None:
            self._keeper.changed(change, after)
        while self._changes and (self._bytes > self._limit_bytes or now - self._changes[0].at > self._limit_seconds):
            gone = self._changes.popleft()
            self._bytes -= gone.size
            self.floor = max(self.floor, gone.revision)
