"""Informers: a local copy of a collection, kept current by one list and one watch.

An informer lists in pages, watches from the list's revision and reconnects from the last revision
it saw. When the server no longer has that revision it lists again and tells its listeners the
difference, deletes included: a listener that has heard of an object hears of its end.

Listeners are called synchronously, in the order of the changes and after the store has them, as
``fn(old, new)``: ``old`` is None for a new object, ``new`` is None for a deleted one. An object
that was deleted and created anew between two looks is told as a delete and an add. A listener
that raises is logged; the informer and the other listeners go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, cast

from google.protobuf.message import Message

from knarr.client.backoff import Backoff
from knarr.client.client import BOOKMARK, DELETED, Client, ObjectList, WatchEvent
from knarr.client.index import Index
from knarr.client.store import Store
from knarr.machinery.errors import TRANSIENT, Expired, StatusError
from knarr.objects.keys import Key, key_of, metadata_of

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)

Listener = Callable[[M | None, M | None], None]

PAGE_SIZE = 500
RECONNECT = Backoff(first_seconds=0.05, limit_seconds=5.0, jitter=0.5)
# A stream that stood this long was a good one, even if nothing happened on it.
QUIET_SECONDS = 10.0
# A server that keeps refusing to resume may have lost the revision: its data was replaced.
FAILURES_UNTIL_RELIST = 10


class Informer(Generic[M]):
    """Watches one collection. ``run`` it once; read ``store``; register listeners any time."""

    def __init__(
        self,
        client: Client,
        message_type: type[M],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resync_seconds: float = 0.0,
        backoff: Backoff = RECONNECT,
    ) -> None:
        """``resync_seconds`` > 0 tells listeners every object again that often, as ``fn(obj, obj)``."""
        self.store: Store[M] = Store()
        self._client = client
        self._message_type = message_type
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._resync_seconds = resync_seconds
        self._backoff = backoff
        self._listeners: list[Listener[M]] = []
        self._synced = asyncio.Event()
        self._revision = ""
        self._away_since: datetime | None = None
        # When the present watch, or the list before it, was asked for; on the loop's clock.
        self._attempt_started = 0.0

    @property
    def synced(self) -> bool:
        """Whether the store has held the whole collection at least once."""
        return self._synced.is_set()

    @property
    def revision(self) -> str:
        """The last resourceVersion seen; empty before the first list."""
        return self._revision

    @property
    def away_since(self) -> datetime | None:
        """Since when the server does not answer, so that the store is only what was last known; None while it does.

        A watch that stands for a while counts as an answer, even if nothing happens on it.
        """
        if self._away_since is None or asyncio.get_running_loop().time() - self._attempt_started > QUIET_SECONDS:
            return None
        return self._away_since

    async def wait_synced(self) -> None:
        """Waits for the first complete list. Bound it with ``asyncio.timeout``."""
        await self._synced.wait()

    def add_index(self, index: Index[M]) -> None:
        """See ``Store.add_index``."""
        self.store.add_index(index)

    def on_change(self, listener: Listener[M]) -> None:
        """Registers a listener; it hears at once of every object that is already stored."""
        self._listeners.append(listener)
        for obj in self.store.list():
            self._tell(listener, None, obj)

    async def run(self) -> None:
        """Lists and watches until it is cancelled."""
        async with _beside(self._resync()):
            failures = 0
            loop = asyncio.get_running_loop()
            while True:
                progress, started = False, loop.time()
                self._attempt_started = started
                try:
                    if not self._revision:
                        await self._list()
                        self._away_since = None
                    async with _closing(self._watch()) as stream:
                        async for batch in stream:
                            self._apply(batch)
                            progress, self._away_since = True, None
                except StatusError as error:
                    self._after_error(error)
                except Exception:
                    logger.exception("informer failed; listing again", extra={"kind": self.kind})
                    self._revision = ""
                failures = 0 if progress or loop.time() - started > QUIET_SECONDS else failures + 1
                if failures >= FAILURES_UNTIL_RELIST:
                    self._revision = ""
                await asyncio.sleep(self._backoff.delay(failures) if failures else 0)

    @property
    def kind(self) -> str:
        return str(self._message_type.DESCRIPTOR.name)

    def _after_error(self, error: StatusError) -> None:
        # After a transient error the last revision is still good; anything else is answered with a fresh list.
        transient = isinstance(error, TRANSIENT)
        if transient and self._away_since is None:
            self._away_since = datetime.now(UTC)
        logger.info("watch broke", extra={"kind": self.kind, "reason": error.reason, "error": str(error)})
        if not transient or is_future(error):
            self._revision = ""

    async def _list(self) -> None:
        found: list[M] = []
        page = await self._page("")
        found.extend(page.items)
        while page.continue_token:
            try:
                page = await self._page(page.continue_token)
            except Expired:
                found.clear()
                page = await self._page("", limit=0)
            found.extend(page.items)
        self._replace(found)
        self._revision = page.resource_version
        self._synced.set()

    async def _page(self, continue_token: str, limit: int = PAGE_SIZE) -> ObjectList[M]:
        return await self._client.list(
            self._message_type,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            limit=limit,
            continue_token=continue_token,
        )

    def _watch(self) -> AsyncIterator[Sequence[WatchEvent[M]]]:
        return self._client.watch(
            self._message_type,
            self._namespace,
            resource_version=self._revision,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )

    def _replace(self, objects: Sequence[M]) -> None:
        present = {key_of(obj) for obj in objects}
        for key in self.store:
            if key not in present:
                self._remove(key)
        for obj in objects:
            self._put(obj)

    def _apply(self, batch: Sequence[WatchEvent[M]]) -> None:
        for event in batch:
            if event.type == DELETED:
                self._remove(key_of(event.object), event.object)
            elif event.type != BOOKMARK:
                self._put(event.object)
            self._revision = metadata_of(event.object).resource_version or self._revision

    def _put(self, obj: M) -> None:
        old = self.store.get(*key_of(obj))
        if old is not None:
            before, after = metadata_of(old), metadata_of(obj)
            if before.uid != after.uid:
                self._remove(key_of(obj))
                old = None
            elif before.resource_version == after.resource_version:
                return
        self.store.put(obj)
        self._announce(old, obj)

    def _remove(self, key: Key, last: M | None = None) -> None:
        old = self.store.remove(key)
        if old is not None:
            self._announce(last if last is not None else old, None)

    def _announce(self, old: M | None, new: M | None) -> None:
        for listener in self._listeners:
            self._tell(listener, old, new)

    def _tell(self, listener: Listener[M], old: M | None, new: M | None) -> None:
        try:
            listener(old, new)
        except Exception:
            obj = new if new is not None else old
            logger.exception("listener failed", extra={"kind": self.kind, "key": str(key_of(obj)) if obj is not None else ""})

    async def _resync(self) -> None:
        while self._resync_seconds > 0:
            await asyncio.sleep(self._resync_seconds)
            for obj in self.store.list():
                self._announce(obj, obj)


class Informers:
    """Shares one informer per collection. ``get`` what is needed, then ``run`` them all."""

    def __init__(self, client: Client, *, resync_seconds: float = 0.0) -> None:
        self._client = client
        self._resync_seconds = resync_seconds
        self._informers: dict[tuple[type[Message], str, str, str], Informer[Any]] = {}
        self._group: asyncio.TaskGroup | None = None

    def get(self, message_type: type[M], *, namespace: str = "", label_selector: str = "", field_selector: str = "") -> Informer[M]:
        """The informer of a collection; the same one for the same arguments."""
        key = (message_type, namespace, label_selector, field_selector)
        informer = self._informers.get(key)
        if informer is None:
            informer = Informer(
                self._client,
                message_type,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                resync_seconds=self._resync_seconds,
            )
            self._informers[key] = informer
            self._start(informer)
        return cast("Informer[M]", informer)

    def __contains__(self, message_type: type[Message]) -> bool:
        """Whether somebody reads the whole collection of that type already."""
        return (message_type, "", "", "") in self._informers

    def _start(self, informer: Informer[Any]) -> None:
        if self._group is not None:
            self._group.create_task(informer.run(), name=f"informer {informer.kind}")

    async def run(self) -> None:
        """Runs every informer, those that are asked for later too, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for informer in list(self._informers.values()):
                    self._start(informer)
                await asyncio.Event().wait()
            finally:
                self._group = None

    async def wait_synced(self) -> None:
        """Waits until all of them have listed once."""
        for informer in list(self._informers.values()):
            await informer.wait_synced()


def is_future(error: StatusError) -> bool:
    """Whether a server refused a revision that it does not have: it lags far behind, or its data is from a backup."""
    return any(cause.reason == "ResourceVersionTooLarge" for cause in error.status.details.causes)


@asynccontextmanager
async def _closing(stream: AsyncIterator[Sequence[WatchEvent[M]]]) -> AsyncIterator[AsyncIterator[Sequence[WatchEvent[M]]]]:
    """Closes a stream, whichever way its iteration ends."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


@asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
