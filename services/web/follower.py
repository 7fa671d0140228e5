"""Follows one resource into the recorder: a list, then a watch, and again where that ends or the API server goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from functools import partial

import aiohttp

from knarr.client.backoff import Backoff
from services.web.api import Api, Refused, silence
from services.web.followed import Followed
from services.web.recorder import Recorder

log = logging.getLogger(__name__)

BACKOFF = Backoff(first_seconds=0.2, limit_seconds=5.0, jitter=0.5)
# A viewer may be given a right meanwhile.
FORBIDDEN_SECONDS = 30.0
GONE = 410
UNKNOWN, FORBIDDEN = 401, 403
# What will not be served the next moment either: no such resource, no such right.
LASTING = (UNKNOWN, FORBIDDEN, 404)


class Follower:
    """``standing`` says in words why the resource is not followed now; empty while it is, None before that is known. ``changed`` is called
    when it is another."""

    def __init__(self, api: Api, followed: Followed, recorder: Recorder, changed: Callable[[Follower], None]) -> None:
        self.followed = followed
        self.standing: str | None = None
        # Once that is known.
        self.told = asyncio.Event()
        self._api, self._recorder, self._changed = api, recorder, changed
        # Whether the API server knows the viewer no more.
        self.unknown = False
        # Since a watch told something.
        self._failures = 0

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            lasting = self.unknown = False
            try:
                await self._follow()
            except Refused as error:
                lasting, self.unknown = error.code in LASTING, error.code == UNKNOWN
                if error.code in (UNKNOWN, FORBIDDEN):
                    self._recorder.conceal(self.followed.name)
                # A list that has grown old in the meantime is no news to anybody.
                if error.code != GONE:
                    self._stand(str(error))
            except (aiohttp.ClientError, OSError) as error:
                self._stand(silence(error))
            self._failures += 1
            await asyncio.sleep(FORBIDDEN_SECONDS if lasting else BACKOFF.delay(self._failures))

    async def _follow(self) -> None:
        followed = self.followed
        pack = partial(self._recorder.packer.pack, followed.name)
        objects, revision = await self._api.list(followed.path, followed.list_form, pack)
        self._recorder.begin_packed(followed.name, objects, revision, remember=followed.remembered)
        # Else each would be kept as it was listed, beside what became of it, for as long as the watch lasts.
        del objects
        self._stand("")
        while True:
            async with aclosing(self._api.watch(followed.path, revision, followed.watch_form)) as events:
                async for event, obj in events:
                    self._failures = 0
                    revision = int(obj["metadata"]["resourceVersion"])
                    if event != "BOOKMARK":
                        self._recorder.take(followed.name, event, obj, remember=followed.remembered)
            # Servers end watches after many minutes; one that does so at once is not to be asked in a circle.
            await asyncio.sleep(BACKOFF.delay(1))

    def _stand(self, words: str) -> None:
        if words != self.standing:
            self.standing = words
            self.told.set()
            self._changed(self)
