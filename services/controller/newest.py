"""The newest that is known of an object: by the cache, or by what was written or read beside it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from knarr.objects.keys import Key, key_of

# Any message with ``metadata``.
M = TypeVar("M", bound=Any)


class Newest(Generic[M]):
    """By key. What the cache shows later by itself is forgotten when it is asked for; ``forget`` what it shows no more when a key is
    looked at: an answer may come after the object has gone.
    """

    def __init__(self) -> None:
        self._known: dict[Key, M] = {}

    def __len__(self) -> int:
        return len(self._known)

    def note(self, obj: M) -> None:
        """It was written, or read from the server."""
        self._known[key_of(obj)] = obj

    def of(self, cached: M) -> M:
        known = self._known.get(key_of(cached))
        if known is not None and known.metadata.uid == cached.metadata.uid and is_older(cached.metadata.resource_version, known):
            return known
        self.forget(key_of(cached))
        return cached

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)


def is_older(revision: str, obj: Any) -> bool:
    """Whether what was read at a revision may lack something that had happened when the object was written.

    Revisions of one store can be compared across kinds; others count as older.
    """
    written = obj.metadata.resource_version
    return not (revision.isdecimal() and written.isdecimal() and int(revision) >= int(written))
