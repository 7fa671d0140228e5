"""What one viewer has: what he may watch, remembered, and all that is asked for him. Nothing of it is another viewer's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import WSCloseCode, web

from knarr.service.tasks import cancel
from services.web.api import Api, Refused
from services.web.archive import Archive
from services.web.followed import FOLLOWED
from services.web.follower import Follower
from services.web.history import Link, chain
from services.web.learning.classroom import Classroom
from services.web.live import Feed
from services.web.packed import ObjectKey
from services.web.parts import Health, NoParts, Parts, Unanswered
from services.web.recorder import Recorder
from services.web.shared import Shared
from services.web.traffic import LEAST_SECONDS, Traffic
from services.web.usage import Sampler
from services.web.wants import wanted

HEALTH_SECONDS = 2.0
LISTED_SECONDS = 10.0
# Each is a watch of each resource.
MOST_NAMESPACES = 16
NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Desk:
    """``api`` is the API server as the viewer reaches it, ``parts`` are the components. A context manager: it works from entry to exit."""

    def __init__(self, api: Api, parts: Parts | None = None, history: Path | None = None, namespaces: Sequence[str] = ()) -> None:
        """``history``: the folder in which is kept what the viewer has seen; None: it is not. ``namespaces``: where is looked for what
        he may not see everywhere."""
        self.api, self.parts = api, parts or NoParts()
        self.recorder = Recorder()
        self.archive = Archive(history, self.recorder) if history is not None else None
        self.feeds: set[Feed] = set()
        self.terminals: set[web.WebSocketResponse] = set()
        self.healths: Shared[list[Health]] = Shared(self.parts.healths, HEALTH_SECONDS)
        self.flows = Traffic(self.parts)
        self.traffic: Shared[dict[str, Any]] = Shared(self.flows.now, LEAST_SECONDS)
        self.wants: Shared[dict[str, Any]] = Shared(lambda: wanted(self.parts), LEAST_SECONDS)
        self.namespaces = list(dict.fromkeys(namespaces))
        self.followers = [Follower(api, followed, self.recorder, self._changed, self.namespaces) for followed in FOLLOWED]
        self.sampler = Sampler(api, namespaces=self.namespaces)
        self.room = Classroom(api, self.recorder, lambda: self.watching)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def watching(self) -> int:
        """How many browsers hear what changes."""
        return len(self.feeds)

    @property
    def unknown(self) -> bool:
        """Whether the API server does not know the viewer any more: what was shown to it has expired, or was taken back."""
        return any(follower.unknown for follower in self.followers)

    async def __aenter__(self) -> Desk:
        if self.archive is not None:
            await _opened(self.archive)
        self._tasks = [asyncio.create_task(one.run(), name=f"follow {one.followed.name}") for one in self.followers]
        self._tasks.append(asyncio.create_task(self.sampler.run(), name="sample metrics"))
        self._tasks.append(asyncio.create_task(self.room.keep(), name="keep lessons"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancel(self._tasks)
        if self.archive is not None:
            self.archive.close()
        await self.room.close()
        for terminal in list(self.terminals):
            await terminal.close(code=WSCloseCode.GOING_AWAY, drain=False)

    async def listed(self) -> None:
        """Waits until it is known of each resource whether it is followed, but no longer than LISTED_SECONDS."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LISTED_SECONDS):
                await asyncio.gather(*(follower.told.wait() for follower in self.followers))

    def look_in(self, namespace: str) -> None:
        """One more of ``namespaces``, which the viewer has named. Raises ValueError for what is no name, and where there are too many."""
        if not NAMESPACE.fullmatch(namespace):
            raise ValueError(f"{namespace[:100]!r} is no name of a namespace")
        if namespace in self.namespaces:
            return
        if len(self.namespaces) >= MOST_NAMESPACES:
            raise ValueError(f"{MOST_NAMESPACES} namespaces were named, which is all that this page looks in one by one")
        self.namespaces.append(namespace)
        for follower in self.followers:
            follower.named()
        self.sampler.named()

    async def chain(self, pod: ObjectKey) -> list[Link]:
        """From an apply to the first connection, as far as it has come and is known: what nodes do with an endpoint they are asked."""
        links = chain(self.recorder, pod)
        if not any(link.step == "endpoint" for link in links):
            return links
        with suppress(Unanswered, Refused, aiohttp.ClientError, OSError):
            await self.traffic()
            # A node may hear of an endpoint a moment before the page does.
            links += [replace(link, at=max(link.at, links[-1].at)) for link in self.flows.links(pod.namespace, pod.name)]
        return links

    def _changed(self, follower: Follower) -> None:
        for feed in self.feeds:
            feed.knock()


async def _opened(archive: Archive) -> None:
    """Opens it in a thread: nobody else has its recorder yet. A thread goes on when nobody waits for it any more, so that is waited for: an
    archive that nobody closes would keep others out for as long as the process lives."""
    opening = asyncio.create_task(asyncio.to_thread(archive.open), name="open archive")
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])
        archive.close()
        raise
