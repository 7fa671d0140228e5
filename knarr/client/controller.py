"""What every controller is: the watches it declares, a queue of keys, and the reconcile of one key."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from typing import ClassVar, TypeVar

from google.protobuf.message import Message

from knarr.client.backoff import Backoff
from knarr.client.clock import Clock
from knarr.client.index import Index
from knarr.client.informer import Informers
from knarr.client.reconciler import Again, Reconciler
from knarr.client.store import Store
from knarr.objects.keys import Key, key_of

M = TypeVar("M", bound=Message)

# After a long outage of the API server the controllers are back at work within this limit.
RETRY = Backoff(first_seconds=0.005, limit_seconds=15.0, jitter=0.2)


def own_key(obj: Message) -> Iterable[Key]:
    """Maps an object to its own key."""
    return (key_of(obj),)


def any_change(old: Message | None, new: Message | None) -> bool:
    return True


def is_there(old: Message | None, new: Message | None) -> bool:
    """The object was added or changed."""
    return new is not None


def is_gone(old: Message | None, new: Message | None) -> bool:
    """The object was removed."""
    return new is None


class Controller(abc.ABC):
    """Watches through shared informers, decides in ``decide.py``, acts in ``reconcile``.

    Its constructor declares what it needs to know, by kind: ``reads``, ``watches`` and ``hears``. Each of
    them answers the kind's store, with the indexes asked for. Whoever reads only what it has declared
    works alone as it works among others. Declared kinds are listed before ``run`` begins.
    """

    name: ClassVar[str]
    # Keys reconciled at once, where that is not for the settings to say.
    workers: ClassVar[int | None] = None
    # How fast a key whose reconcile failed is tried again.
    retry: ClassVar[Backoff] = RETRY

    def __init__(self, informers: Informers, *, workers: int, clock: Clock) -> None:
        self._informers = informers
        self.queue = Reconciler(self.name, self.reconcile, workers=self.workers or workers, backoff=self.retry, clock=clock)

    def reads(self, kind: type[M], *indexes: Index[M]) -> Store[M]:
        """The objects of a kind; their changes alone give no work."""
        informer = self._informers.get(kind)
        for index in indexes:
            informer.add_index(index)
        return informer.store

    def watches(
        self,
        kind: type[M],
        *indexes: Index[M],
        mapped: Callable[[M], Iterable[Key]] = own_key,
        when: Callable[[M | None, M | None], bool] = any_change,
    ) -> Store[M]:
        """As ``reads``; and a change enqueues the keys to which the object is ``mapped``, as it was and as it is.

        ``when`` says of the object before and after (None where it is not there) whether the change matters.
        """

        def changed(old: M | None, new: M | None) -> Iterable[Key]:
            if when(old, new):
                for obj in (old, new):
                    if obj is not None:
                        yield from mapped(obj)

        return self.hears(kind, changed, *indexes)

    def hears(self, kind: type[M], listener: Callable[[M | None, M | None], Iterable[Key]], *indexes: Index[M]) -> Store[M]:
        """As ``reads``; and each change is told to ``listener``, before and after; the keys it answers are enqueued."""

        def changed(old: M | None, new: M | None) -> None:
            for key in listener(old, new):
                self.queue.enqueue(key)

        store = self.reads(kind, *indexes)
        self._informers.get(kind).on_change(changed)
        return store

    @abc.abstractmethod
    async def reconcile(self, key: Key) -> Again | None:
        """Brings what ``key`` names one step nearer to what is wanted."""

    async def run(self) -> None:
        """Works until cancelled; the informers are synced by then."""
        await self.queue.run()
