"""Objects of a definition with several versions, in each of them: as they are under another name, or as a webhook converts them.

Each object of the cache is converted once to each version that somebody asks for, whoever asks: what is under way is waited for, what
is done is kept beside the object. Many are asked about together, in pieces that are bounded by number and bytes, so many pieces at once for
each webhook. What is asked goes on when those who wait for it are gone: others may wait for it too, and it ends in time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from knarr.machinery.errors import StatusError, error_of
from knarr.machinery.resources import Version
from knarr.objects.names import new_uid
from services.apiserver.apply.versions import Unconverted
from services.apiserver.aside import in_turn_if_large
from services.apiserver.deadline import within
from services.apiserver.entries import Entries
from services.apiserver.entry import Entry
from services.apiserver.results import Page

if TYPE_CHECKING:
    from services.apiserver.webhooks.client import WebhookClient

# As Kubernetes does; it cannot be set there either.
HOOK_SECONDS = 30.0
# Of one review; one object may be larger.
BATCH, BATCH_BYTES = 500, 1024 * 1024
# Reviews that one webhook is asked at once.
AT_ONCE = 8


class Conversions:
    """``client`` makes what webhooks are called with, when the first one is called."""

    def __init__(self, client: Callable[[], WebhookClient] | None = None, source: random.Random | None = None) -> None:
        self._make, self._source = client, source or random.Random()
        self._client: WebhookClient | None = None
        self._running: dict[tuple[Entry, Version], asyncio.Future[Entry]] = {}
        self._batches: set[asyncio.Task[None]] = set()
        # By the URL of the webhook; they go with the last who holds one.
        self._gates: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def entry(self, version: Version, entry: Entry, deadline: float) -> Entry:
        """The object in a version of its resource. Raises StatusError, Timeout at the deadline."""
        if version.resource.converter is None:
            return entry
        return entry.known(version) or (await self.entries(version, [entry], deadline))[0]

    async def entries(self, version: Version, entries: Sequence[Entry], deadline: float) -> Sequence[Entry]:
        """The same for many. Raises for all what is raised for one."""
        if version.resource.converter is None or all(entry.version is version for entry in entries):
            return entries
        if not _by_webhook(version):
            return [entry.known(version) or entry.keep(version, _renamed(entry.raw, entry.version, version)) for entry in entries]
        known = [entry.known(version) for entry in entries]
        missing = [entry for entry, item in zip(entries, known, strict=True) if item is None and (entry, version) not in self._running]
        for batch in batches(list(dict.fromkeys(missing))):
            self._begin(version, batch)
        found = [item or self._running[entry, version] for entry, item in zip(entries, known, strict=True)]
        if waiting := {item for item in found if isinstance(item, asyncio.Future)}:
            await within(deadline, _done(waiting), "a conversion webhook")
        return [_result(item) if isinstance(item, asyncio.Future) else item for item in found]

    def at_hand(self, version: Version, entries: Sequence[Entry]) -> Sequence[Entry] | None:
        """The same if nobody has to be waited for; None else."""
        known = [entry.known(version) for entry in entries]
        return known if None not in known else None  # type: ignore[return-value]

    async def page(self, version: Version, page: Page, deadline: float) -> Page:
        """A page in a version; that of a whole collection is kept with it."""
        if version.resource.converter is None:
            return page
        found = page.entries.converted.get(version)
        if found is None:
            entries = await self.entries(version, page.entries, deadline)
            if entries is page.entries:
                return page
            found = page.entries.converted[version] = Entries.of(entries)
        return replace(page, entries=found)

    async def stored(self, version: Version, raw: bytes, deadline: float) -> bytes:
        """The bytes of an object of a version as they are stored."""
        storage = version.resource.storage
        if version.resource.converter is None or version is storage:
            return raw
        if not _by_webhook(version):
            return _renamed(raw, version, storage)
        return (await within(deadline, self._converted(version, storage, [raw]), "a conversion webhook"))[0]

    async def between(self, source: Version, target: Version, raw: bytes, deadline: float) -> bytes:
        """The bytes of an object of one version in another. Raises StatusError, Timeout at the deadline."""
        if source is target:
            return raw
        if not _by_webhook(target):
            return _renamed(raw, source, target)
        return (await within(deadline, self._converted(source, target, [raw]), "a conversion webhook"))[0]

    async def answer(self, wanted: Unconverted, deadline: float) -> None:
        """Converts what work on an object's managers turned out to need."""
        converting = self._converted(wanted.source, wanted.target, [wanted.raw])
        wanted.take((await within(deadline, converting, "a conversion webhook"))[0])

    async def close(self) -> None:
        for task in self._batches:
            task.cancel()
        if self._batches:
            await asyncio.wait(self._batches)
        if self._client is not None:
            await self._client.close()

    def _begin(self, version: Version, batch: Sequence[Entry]) -> None:
        loop = asyncio.get_running_loop()
        for entry in batch:
            self._running[entry, version] = loop.create_future()
        task = loop.create_task(self._convert(version, batch), name=f"apiserver/conversion to {version.api_version}")
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def _convert(self, version: Version, batch: Sequence[Entry]) -> None:
        """Fulfils what is waited for, whatever happens."""
        try:
            raws = await self._converted(batch[0].version, version, [entry.raw for entry in batch])
            for entry, raw in zip(batch, raws, strict=True):
                self._running[entry, version].set_result(entry.keep(version, raw))
        except BaseException as error:
            for entry in batch:
                waiting = self._running[entry, version]
                if not waiting.done():
                    waiting.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                    # Perhaps nobody waits any more.
                    waiting.exception()
            if not isinstance(error, StatusError):
                raise
        finally:
            for entry in batch:
                del self._running[entry, version]

    async def _converted(self, source: Version, target: Version, raws: Sequence[bytes]) -> list[bytes]:
        """Asks the webhook. Raises StatusError."""
        # What it stands on is only loaded by those who have webhooks.
        from services.apiserver.conversion.review import Review, failure, review_version
        from services.apiserver.webhooks.client import HookFailed
        from services.apiserver.webhooks.hook import hook_of

        config: Any = target.resource.converter.webhook  # type: ignore[union-attr]
        hook = hook_of(config.client_config, HOOK_SECONDS)
        uid = new_uid(self._source)
        review = Review(uid, review_version(config.conversion_review_versions), source, target, raws)
        async with self._gate(hook.url):
            body = await in_turn_if_large(sum(map(len, raws)), review.body)
            try:
                answer = await self._called().post(hook, body, HOOK_SECONDS)
            except HookFailed as error:
                raise failure(source, f"failed: {error}") from error
            found = await in_turn_if_large(len(answer), review.converted, answer)
            return found

    @asynccontextmanager
    async def _gate(self, url: str) -> AsyncIterator[None]:
        gate = self._gates.get(url)
        if gate is None:
            gate = self._gates[url] = asyncio.Semaphore(AT_ONCE)
        async with gate:
            yield

    def _called(self) -> WebhookClient:
        if self._client is None:
            if self._make is None:
                raise RuntimeError("this API server calls no webhooks")
            self._client = self._make()
        return self._client


def _by_webhook(version: Version) -> bool:
    converter: Any = version.resource.converter
    return bool(converter.strategy == "Webhook")


def _renamed(raw: bytes, source: Version, target: Version) -> bytes:
    form: Any = target.form
    renamed: bytes = form.renamed(raw, source.form)
    return renamed


def batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """In their order; each of one version, at most BATCH, and at most BATCH_BYTES unless it is one."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == BATCH or size + len(entry.raw) > BATCH_BYTES or batch[0].version is not entry.version):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.raw)
    if batch:
        yield batch


async def _done(waiting: set[asyncio.Future[Entry]]) -> None:
    await asyncio.wait(waiting)


def _result(found: asyncio.Future[Entry]) -> Entry:
    """Raises an error of its own for each who waited."""
    error = found.exception()
    if isinstance(error, StatusError):
        raise error_of(error.status)
    return found.result()
