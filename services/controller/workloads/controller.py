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
        return await self.sync(workload)

    def _workload_changed(self, old: Message | None, new: Message | None) -> Iterator[Key]:
        for key in {key_of(obj) for obj in (old, new) if obj is not None}:
            if new is None:
                # Another one of the same name must not wait for writes of the one that is gone.
                self.expectations.forget(key)
            yield from self._enqueued(key, may_wait=old is not None and new is not None and _asks_for_the_same(old, new))

    def _owned_changed(self, old: Message | None, new: Message | None) -> Iterator[Key]:
        for obj in (old, new):
            owner = None if obj is None else controller_key(obj, self.workload)
            if obj is None or owner is None:
                continue
            if obj is new or new is None:
                self.expectations.saw(owner, obj, gone=new is None)
            yield from self._enqueued(owner, may_wait=self._only_counts(owner, old, new))
        if new is not None and controller_of(new) is None and not is_deleting(new):
            yield from self._adopters(new)

    def _enqueued(self, key: Key, *, may_wait: bool) -> Iterator[Key]:
        """The key, unless it is to be looked at a little later."""
        seconds = self._pace.wait_seconds(key) if may_wait and self.counts_in_batches else 0.0
        if seconds:
            self.queue.enqueue_after(key, seconds)
        else:
            yield key

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
