"""Follows one resource into the recorder: a list, then a watch, and again where that ends or the API server goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import partial

import aiohttp

from knarr.client.backoff import Backoff
from knarr.service.tasks import run_together
from services.web.api import Api, Refused, silence
from services.web.followed import Followed
from services.web.packed import Packed
from services.web.recorder import Recorder

log = logging.getLogger(__name__)

BACKOFF = Backoff(first_seconds=0.2, limit_seconds=5.0, jitter=0.5)
# A viewer may be given a right meanwhile.
FORBIDDEN_SECONDS = 30.0
GONE = 410
UNKNOWN, FORBIDDEN = 401, 403
# What will not be served the next moment either: no such resource, no such right.
LASTING = (UNKNOWN, FORBIDDEN, 404)


class _Named(Exception):
    """The viewer has named another namespace."""


class Follower:
    """``standing`` says in words why the resource is not followed now; empty while it is, None before that is known. ``changed`` is called
    with the follower each time that becomes otherwise.

    Where the viewer may not list it everywhere, it is followed in those of ``namespaces`` in which he may: ``within`` are these, None for
    everywhere. The API server answers for each alike whether it is there or not, so nobody learns by it which there are."""

    def __init__(
        self, api: Api, followed: Followed, recorder: Recorder, changed: Callable[[Follower], None], namespaces: Collection[str] = ()
    ) -> None:
        self.followed = followed
        self.standing: str | None = None
        self.within: frozenset[str] | None = None
        # Once that is known.
        self.told = asyncio.Event()
        self._api, self._recorder, self._changed, self._namespaces = api, recorder, changed, namespaces
        # Whether the API server knows the viewer no more.
        self.unknown = False
        # Since a watch told something.
        self._failures = 0
        self._named = asyncio.Event()

    def named(self) -> None:
        """There is another namespace: what is not followed everywhere is looked for there, too."""
        self._named.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            lasting = self.unknown = False
            try:
                await self._follow()
            except _Named:
                continue
            except Refused as error:
                lasting, self.unknown = error.code in LASTING, error.code == UNKNOWN
                if error.code in (UNKNOWN, FORBIDDEN):
                    self._recorder.conceal(self.followed.name)
                    self.within = None
                # A list that has grown old in the meantime is no news to anybody.
                if error.code != GONE:
                    self._stand(str(error))
            except (aiohttp.ClientError, OSError) as error:
                self._stand(silence(error))
            self._failures += 1
            await self._pause(FORBIDDEN_SECONDS if lasting else BACKOFF.delay(self._failures))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._named.wait()

    async def _follow(self) -> None:
        self._named.clear()
        try:
            objects, revision = await self._list(self.followed.path)
        except Refused as error:
            if error.code != FORBIDDEN or not self.followed.namespaced:
                raise
            await self._follow_within(error)
            return
        self.within = None
        self._begin(objects, revision)
        # Else each would be kept as it was listed, beside what became of it, for as long as the watch lasts.
        del objects
        await self._watch(self.followed.path, revision)

    async def _follow_within(self, refused: Refused) -> None:
        """In the namespaces in which he may; raises what he was told of all where there are none."""
        objects: list[Packed] = []
        revisions: dict[str, int] = {}
        for namespace in tuple(self._namespaces):
            with _unless_refused(FORBIDDEN):
                found, revisions[namespace] = await self._list(self.followed.path_in(namespace))
                objects += found
                del found
        if not revisions:
            raise refused
        # What was seen elsewhere, by this page or one before, is not his to see any more; nor is how it went.
        if self.within is None or not self.within <= revisions.keys():
            self._recorder.conceal(self.followed.name)
        if self.within != revisions.keys():
            self.within, self.standing = frozenset(revisions), None
        self._begin(objects, max(revisions.values()))
        del objects
        watches = {namespace: self._watch(self.followed.path_in(namespace), revision) for namespace, revision in revisions.items()}
        await run_together(f"follow {self.followed.name}", {**watches, "": self._until_named()})

    async def _until_named(self) -> None:
        await self._named.wait()
        raise _Named

    async def _list(self, path: str) -> tuple[list[Packed], int]:
        return await self._api.list(path, self.followed.list_form, partial(self._recorder.packer.pack, self.followed.name))

    def _begin(self, objects: list[Packed], revision: int) -> None:
        self._recorder.begin_packed(self.followed.name, objects, revision, remember=self.followed.remembered)
        self._stand("")

    async def _watch(self, path: str, revision: int) -> None:
        followed = self.followed
        while True:
            async with aclosing(self._api.watch(path, revision, followed.watch_form)) as events:
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


@contextmanager
def _unless_refused(code: int) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        if error.code != code:
            raise
