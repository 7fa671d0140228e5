"""What every controller of a workload is: a controller of objects that own others and choose them by a selector."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, TypeVar, cast

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.index import Index
from knarr.client.reconciler import Again
from knarr.client.store import Store
from knarr.client.workqueue import Delays
from knarr.machinery.selectors import Selector, label_selector
from knarr.objects.keys import Key, is_deleting, key_of, metadata_of
from knarr.objects.owners import controller_key, controller_of
from knarr.objects.pods import is_active
from services.controller.controller import Context, Controller
from services.controller.expectations import Expectations
from services.controller.pace import Pace
from services.controller.workloads.adoption import BY_CONTROLLER, ORPHANS, settle_claims
from services.controller.workloads.claims import anybody

# The workload's message, and that of what it owns: any with ``metadata``.
W = TypeVar("W", bound=Any)
M = TypeVar("M", bound=Any)

# Later than due, so that it is due for sure.
MARGIN_SECONDS = 0.01
# How often one workload is looked at for what is only counted.
COUNTED_AT_ONCE, COUNTED_A_SECOND = 20.0, 20.0
# How long what is only counted waits for its like, so that pods which start together are counted, and their counts written, once.
GATHERED_SECONDS = 0.25


class WorkloadController(Controller, Generic[W]):
    """Reconciles each object of ``workload`` when it changes, and when one that it owns does.

    A subclass declares in its constructor what its workload ``owns``, and syncs one workload at a time. What it writes it notes in
    ``expectations`` first (``PodWriter`` does so), and while any are open it trusts no count of what the informers show.
    """

    # Of type[W].
    workload: ClassVar[type[Message]]
    # By which it holds what is its own until it has taken note of its end; empty: by none.
    finalizer: ClassVar[str] = ""
    # Whether pods that change in what is only counted may wait, where they are many: to count a thousand of them takes milliseconds.
    counts_in_batches: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.expectations = Expectations()
        self._pace = Pace(COUNTED_AT_ONCE, COUNTED_A_SECOND)
        # When what is only counted is looked at; dropped when it was looked at before.
        self._later: Delays[Key] = Delays(self.queue.enqueue)
        self.workloads: Store[W] = self.hears(cast("type[Any]", self.workload), self._workload_changed)

    @abc.abstractmethod
    async def sync(self, workload: W) -> Again | None:
        """Brings one workload a step nearer to what is wanted; it is shared, so copy it before changing it."""

    def selector_of(self, workload: W) -> Selector:
        """What chooses the objects of a workload."""
        return label_selector(workload.spec.selector)

    def owns(self, kind: type[M], *indexes: Index[M]) -> Store[M]:
        """The objects of a kind that workloads own. A change enqueues the owner; one that nobody controls, those who may adopt it."""
        return self.hears(kind, self._owned_changed, BY_CONTROLLER, ORPHANS, *indexes)

    def is_settled(self, workload: W) -> bool:
        """Whether all its writes were seen. To be asked before its objects are ``claimed``: what is seen while that waits for the server is
        no reason to trust an older list of them.
        """
        return self.expectations.open(key_of(cast(Message, workload))) == 0

    async def claimed(
        self, workload: W, owned: Store[M], may_belong: Callable[[M], bool] = anybody, *, by: Index[M] = BY_CONTROLLER
    ) -> list[M]:
        """The workload's own objects, after adopting orphans that match and releasing what matches no longer.

        ``may_belong`` says of an object what the selector does not. ``by`` finds its own by its uid; one that finds a part of them leaves
        the others alone.
        """
        metadata = workload.metadata
        candidates = [*owned.index(by, metadata.uid), *owned.index(ORPHANS, metadata.namespace)]
        return await settle_claims(self.client, workload, self.selector_of(workload), candidates, may_belong, self.finalizer)

    async def reconcile(self, key: Key) -> Again | None:
        workload = self.workloads.get(*key)
        if workload is None:
            self.expectations.forget(key)
            self._pace.forget(key)
            return None
        self._pace.did(key)
        self._later.cancel(key)
        return await self.sync(workload)

    async def run(self) -> None:
        try:
            await super().run()
        finally:
            self._later.clear()

    def _workload_changed(self, old: Message | None, new: Message | None) -> Iterator[Key]:
        for key in {key_of(obj) for obj in (old, new) if obj is not None}:
            if new is None:
                # Another one of the same name must not wait for writes of the one that is gone.
                self.expectations.forget(key)
            told = old is not None and new is not None and _asks_for_the_same(old, new)
            yield from self._enqueued(key, self._wait_seconds(key, more=True) if told else 0.0)

    def _owned_changed(self, old: Message | None, new: Message | None) -> Iterator[Key]:
        before = None if old is None else controller_key(old, self.workload)
        owner = None if new is None else controller_key(new, self.workload)
        for key in dict.fromkeys((before, owner)):
            if key is not None:
                yield from self._enqueued(key, self._patience_seconds(key, old, new))
        if new is not None and owner is not None:
            self.expectations.saw(owner, new, gone=False)
        elif new is None and old is not None and before is not None:
            self.expectations.saw(before, old, gone=True)
        if new is not None and controller_of(new) is None and not is_deleting(new):
            yield from self._adopters(new)

    def _enqueued(self, key: Key, wait_seconds: float) -> Iterator[Key]:
        """The key, unless it is to be looked at a little later."""
        if wait_seconds:
            self._later.set(key, wait_seconds)
        else:
            yield key

    def _patience_seconds(self, owner: Key, old: Message | None, new: Message | None) -> float:
        """How long an owner may wait before it looks at a change of what it owns, of which its expectations know nothing yet."""
        return self._wait_seconds(owner, more=self._awaits_more(owner)) if self._only_counts(owner, old, new) else 0.0

    def _wait_seconds(self, key: Key, *, more: bool) -> float:
        """How long what is only counted may wait; ``more`` of it is to be expected."""
        if not self.counts_in_batches:
            return 0.0
        return max(self._pace.wait_seconds(key), GATHERED_SECONDS if more else 0.0)

    def _awaits_more(self, owner: Key) -> bool:
        """Whether more of its pods are to come or to be ready. The last one is counted at once."""
        return False

    def _only_counts(self, owner: Key, old: Message | None, new: Message | None) -> bool:
        """Whether a change gives its owner nothing to do but count; a pod among others that are awaited too is no more."""
        if not isinstance(new, core.Pod) or not is_active(new):
            return False
        if old is None:
            return self.expectations.open(owner) > 0
        assert isinstance(old, core.Pod)
        before, after = old.metadata, new.metadata
        return is_active(old) and before.labels == after.labels and controller_of(old) == controller_of(new)

    def _adopters(self, orphan: Message) -> Iterator[Key]:
        metadata = metadata_of(orphan)
        for workload in self.workloads.list(metadata.namespace):
            if self.selector_of(workload).matches(metadata.labels):
                yield key_of(cast(Message, workload))


def again(seconds: float | None) -> Again | None:
    """When time alone changes something after so long; None: never."""
    return None if seconds is None else Again(seconds + MARGIN_SECONDS)


def _asks_for_the_same(old: Message, new: Message) -> bool:
    """Whether a workload changed in its status alone, or in what is no part of its spec: mostly it is told of its own writes."""
    before, after = metadata_of(old), metadata_of(new)
    return before.uid == after.uid and before.generation == after.generation and is_deleting(old) == is_deleting(new)
