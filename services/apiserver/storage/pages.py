"""Reading a whole prefix in pages that are sized by what they weigh, since etcd counts them in keys only.

A page grows to twice the one before at most, as long as it is expected to stay light; one that does not fit into an answer all the same,
because heavy objects lie behind light ones, is asked for anew in an eighth of its keys.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.apiserver.storage.store import KeyValue, PageTooLarge, RangePage, Store

# What a page is meant to weigh: it is read, held by etcd and by this process, and decoded while nobody else runs.
WANTED_BYTES = 8 * 1024 * 1024
# For a page, etcd goes over all keys that come after it: more than these make up for it.
MOST_KEYS = 1000
# Of the largest objects that etcd takes (8 MiB under `knarr up`), so many fit into an answer.
FIRST_KEYS = 32
KEY_BYTES = 64


class PageSize:
    """How many keys the next page is to have."""

    def __init__(self, keys: int = FIRST_KEYS) -> None:
        self.keys = keys

    def read(self, page: RangePage) -> None:
        """Learns from a page that was read."""
        weight = sum(KEY_BYTES + len(item.value) for item in page.items)
        wanted = WANTED_BYTES * len(page.items) // weight if weight else MOST_KEYS
        self.keys = max(min(wanted, 2 * self.keys, MOST_KEYS), 1)

    def refused(self) -> None:
        """Learns from a page that was too large; raises PageTooLarge when it was a single key."""
        if self.keys == 1:
            raise PageTooLarge
        self.keys = max(self.keys // 8, 1)


async def next_page(store: Store, prefix: str, size: PageSize, *, start: str = "", revision: int = 0, limit: int = 0) -> RangePage:
    """One page of ``limit`` keys at most (0: as many as fit). Raises what ``Store.range`` raises."""
    while True:
        keys = min(limit, size.keys) if limit else size.keys
        try:
            page = await store.range(prefix, start=start, revision=revision, limit=keys)
        except PageTooLarge:
            size.refused()
        else:
            size.read(page)
            return page


async def pages(store: Store, prefix: str, revision: int = 0) -> AsyncIterator[RangePage]:
    """All of a prefix, every page as of the same revision: that of the first one unless it is given."""
    size, start, more = PageSize(), "", True
    while more:
        page = await next_page(store, prefix, size, start=start, revision=revision)
        revision = revision or page.revision
        yield page
        more, start = page.more, page.items[-1].key + "\0" if page.items else ""


async def read_all(store: Store, prefix: str, revision: int = 0) -> tuple[list[KeyValue], int]:
    """All of a prefix, and the revision at which it is so."""
    items: list[KeyValue] = []
    async for page in pages(store, prefix, revision):
        revision = revision or page.revision
        items += page.items
    return items, revision
