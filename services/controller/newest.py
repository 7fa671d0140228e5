"""The newest that is known of an object: by the cache, or by what was written or read beside it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

# Any message with ``metadata``.
M = TypeVar("M", bound=Any)


class Newest(Generic[M]):
    """By uid. What the cache shows later by itself is forgotten when it is asked for."""

    def __init__(self) -> None:
        self._known: dict[str, M] = {}

    def note(self, obj: M) -> None:
        """It was written, or read from the server."""
        self._known[obj.metadata.uid] = obj

    def of(self, cached: M) -> M:
        known = self._known.get(cached.metadata.uid)
        if known is not None and is_older(cached.metadata.resource_version, known):
            return known
        self._known.pop(cached.metadata.uid, None)
        return cached

    def forget(self, uid: str) -> None:
        self._known.pop(uid, None)


def is_older(revision: str, obj: Any) -> bool:
    """Whether what was read at a revision may lack something that had happened when the object was written.

    Revisions of one store can be compared across kinds; others count as older.
    """
    written = obj.metadata.resource_version
    return not (revision.isdecimal() and written.isdecimal() and int(revision) >= int(written))
