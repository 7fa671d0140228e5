"""Writes that the informers have not shown yet.

A controller that counts what exists must not count on a cache that lags behind its own writes.
It notes each write *before* making it, under the name it chose itself, and forgets it when the
watch shows it or the write fails. While a key has open expectations its count is not to be
trusted. A note that is never answered (a lost write whose reply was lost too) lapses.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from google.protobuf.message import Message

from knarr.client.client import Client
from knarr.machinery.errors import TRANSIENT, AlreadyExists, StatusError
from knarr.objects.keys import Key, metadata_of
from knarr.objects.owners import controller_of

LAPSE_SECONDS = 300.0


class Expectations:
    """Open writes by owner key; ``token`` names one write (``+name`` or ``-uid``)."""

    def __init__(self) -> None:
        self._open: defaultdict[Key, dict[str, float]] = defaultdict(dict)

    def expect(self, owner: Key, token: str) -> None:
        self._open[owner][token] = asyncio.get_running_loop().time() + LAPSE_SECONDS

    def expects(self, owner: Key, token: str) -> bool:
        """Whether that write was noted and not seen yet."""
        return token in self._open.get(owner, ())

    def met(self, owner: Key, token: str) -> None:
        """The write was seen, or did not happen."""
        tokens = self._open.get(owner)
        if tokens is not None:
            tokens.pop(token, None)
            if not tokens:
                del self._open[owner]

    def saw(self, owner: Key, obj: Message, *, gone: bool) -> None:
        """A watch shows an object of the owner's: as it is now, or as it was when it went."""
        metadata = metadata_of(obj)
        if not gone:
            self.met(owner, created(metadata.name))
        if gone or metadata.HasField("deletion_timestamp"):
            self.met(owner, deleted(metadata.uid))

    def forget(self, owner: Key) -> None:
        self._open.pop(owner, None)

    def open(self, owner: Key) -> int:
        """How many writes are still unseen."""
        tokens = self._open.get(owner)
        if not tokens:
            return 0
        now = asyncio.get_running_loop().time()
        for token in [token for token, lapses in tokens.items() if lapses <= now]:
            self.met(owner, token)
        return len(tokens)

    def unseen(self, owner: Key) -> tuple[int, frozenset[str]]:
        """How many objects it has created, and the uids of those it has deleted, that no watch shows yet."""
        if not self.open(owner):
            return 0, frozenset()
        uids = frozenset(token[1:] for token in self._open[owner] if token.startswith("-"))
        return len(self._open[owner]) - len(uids), uids


def created(name: str) -> str:
    return f"+{name}"


def deleted(uid: str) -> str:
    return f"-{uid}"


async def is_made(client: Client, obj: Message, error: BaseException) -> bool:
    """Whether an object is stored although its creation ended with ``error``: the answer was lost, or it is not the first try.

    It is still expected: whoever counts before the watch shows it would make another. One of the same name that another controls is
    not it.
    """
    if not isinstance(error, (*TRANSIENT, AlreadyExists)):
        return False
    metadata = metadata_of(obj)
    try:
        live = await client.get(type(obj), metadata.name, metadata.namespace)
    except StatusError:
        return False
    found, wanted = controller_of(live), controller_of(obj)
    return found is not None and wanted is not None and bool(found.uid == wanted.uid)
