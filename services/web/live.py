"""What browsers see live: all objects first, then what changes, in the form of server-sent events.

What waits for a browser is kept by object, the newest state only: a slow one hears of fewer changes, and never of a wrong one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator

import orjson

from services.web.follower import Follower
from services.web.packed import ObjectKey
from services.web.recorder import Recorder

# After so long without news something is said, by which an end that is gone is found out.
SILENT_SECONDS = 15.0
SILENCE = b":\n\n"
# Written to a browser as one piece: some 50 KiB.
OBJECTS_AT_ONCE = 20


class Feed:
    """What one browser has not heard yet. A context manager: it listens from entry to exit."""

    def __init__(self, recorder: Recorder, followers: list[Follower]) -> None:
        self._recorder, self._followers = recorder, followers
        self._waiting: dict[ObjectKey, bytes | None] = {}
        # Of followers: how each stands, and in which namespaces is looked one by one.
        self._told: tuple[dict[str, str | None], list[str]] = {}, []
        self._news = asyncio.Event()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Pieces of an event stream, without end."""
        unlisten = self._recorder.listen(self._hear)
        try:
            for follower in self._followers:
                for piece in self._everything(follower.followed.name):
                    yield piece
            while True:
                yield b"".join(self._standings() + self._changes()) or SILENCE
                try:
                    async with asyncio.timeout(SILENT_SECONDS):
                        await self._news.wait()
                except TimeoutError:
                    continue
        finally:
            unlisten()

    def knock(self) -> None:
        """Something that is no object changed."""
        self._news.set()

    def _hear(self, key: ObjectKey, text: bytes | None) -> None:
        self._waiting[key] = text
        self._news.set()

    def _everything(self, resource: str) -> Iterator[bytes]:
        """One event in pieces: whole, it would be another copy of all objects for each browser that comes."""
        # What changed meanwhile is in it.
        for key in [key for key in self._waiting if key.resource == resource]:
            del self._waiting[key]
        texts = self._recorder.texts(resource)
        yield b'event: all\ndata: ["%s",[' % resource.encode()
        for first in range(0, len(texts), OBJECTS_AT_ONCE):
            yield (b"," if first else b"") + b",".join(texts[first : first + OBJECTS_AT_ONCE])
        yield b"]]\n\n"

    def _changes(self) -> list[bytes]:
        self._news.clear()
        told = [_event(key, text) for key, text in self._waiting.items()]
        if told:
            self._waiting.clear()
            told.append(b"event: revision\ndata: [%d,%d]\n\n" % (self._recorder.floor, self._recorder.latest))
        return told

    def _standings(self) -> list[bytes]:
        now = {follower.followed.name: follower.standing for follower in self._followers}
        within = sorted({namespace for follower in self._followers for namespace in follower.within or ()})
        if (now, within) == self._told:
            return []
        self._told = now, within
        data = orjson.dumps({name: standing for name, standing in now.items() if standing != ""})
        revision = b"event: revision\ndata: [%d,%d]\n\n" % (self._recorder.floor, self._recorder.latest)
        return [b"event: standing\ndata: %s\n\n" % data, b"event: within\ndata: %s\n\n" % orjson.dumps(within), revision]


def _event(key: ObjectKey, text: bytes | None) -> bytes:
    if text is not None:
        return b'event: object\ndata: ["%s",%s]\n\n' % (key.resource.encode(), text)
    return b"event: gone\ndata: %s\n\n" % orjson.dumps(list(key))
