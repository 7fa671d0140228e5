"""The connections of a server: how many there may be, and who makes way when there are more.

A descriptor of the process is kept for each connection, and the components need theirs. Who has not said yet who it is makes way for who
comes anew, the longest silent first; only when all are known, the newcomer is turned away.
"""

from __future__ import annotations

import logging
from typing import Protocol

from knarr.service.descriptors import raise_limit

log = logging.getLogger(__name__)

# Of the descriptors of the process, the part that connections may take, and how many of those may be anybody's.
SHARE, MAX_CONNECTIONS, MAX_STRANGERS = 2, 16_384, 1024
# What all heads of requests that have not come whole take together; and what one may take though the others take all.
HEADS_BYTES, HEAD_BYTES = 32 * 1024 * 1024, 16 * 1024


class Connection(Protocol):
    def abort(self) -> None: ...


class Crowd:
    """``room``: connections at once; of them ``strangers`` of callers who are not known yet."""

    def __init__(self, room: int | None = None, strangers: int = MAX_STRANGERS) -> None:
        self._room = min(raise_limit() // SHARE, MAX_CONNECTIONS) if room is None else room
        self._max_strangers = min(strangers, max(1, self._room // 2))
        # In the order of their coming.
        self._strangers: dict[Connection, None] = {}
        self._known: set[Connection] = set()
        # What has come of heads that are not whole.
        self.head_bytes = 0

    def enter(self, connection: Connection) -> None:
        self._strangers[connection] = None
        if len(self._strangers) > self._max_strangers or len(self._strangers) + len(self._known) > self._room:
            oldest = next(iter(self._strangers))
            self.leave(oldest)
            oldest.abort()
            log.warning("a connection is ended: there are too many", extra={"strangers": len(self._strangers), "known": len(self._known)})

    def greet(self, connection: Connection) -> None:
        """The caller has said who it is."""
        if connection in self._strangers:
            del self._strangers[connection]
            self._known.add(connection)

    def leave(self, connection: Connection) -> None:
        self._strangers.pop(connection, None)
        self._known.discard(connection)

    def is_over_head(self, own_bytes: int) -> bool:
        """Whether a head of which so much has come is one too many."""
        return self.head_bytes > HEADS_BYTES and own_bytes > HEAD_BYTES

    def disperse(self) -> None:
        """Ends all connections."""
        for connection in (*self._strangers, *self._known):
            connection.abort()

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)
