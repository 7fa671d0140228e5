"""What every controller of a workload is: a controller of objects that own others and choose them by a selector."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar, cast

from google.protobuf.message import Message

from knarr.client.index import Index
from knarr.client.reconciler import Again
from knarr.client.store import Store
from knarr.machinery.selectors import Selector, label_selector
from knarr.objects.keys import Key, is_deleting, key_of, metadata_of
from knarr.objects.owners import controller_key, controller_of
from services.controller.controller import Context, Controller
from services.controller.expectations import Expectations
from services.controller.workloads.adoption import BY_CONTROLLER, ORPHANS, settle_claims
from services.controller.workloads.claims import anybody

# The workload's message, and that of what it owns: any with ``metadata``.
W = TypeVar("W", bound=Any)
M = TypeVar("M", bound=Any)


class WorkloadController(Controller, Generic[W]):
    """Reconciles each object of ``workload`` when it changes, and when one that it owns does.

    A subclass declares in its constructor what its workload ``owns``, and syncs one workload at a time. What it writes it notes in
    ``expectations`` first (``PodWriter`` does so), and while any are open it trusts no count of what the informers show.
    """

    # Of type[W].
    workload: ClassVar[type[Message]]
    # By which it holds what is its own until it has taken note of its end; empty: by none.
    finalizer: ClassVar[str] = ""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.expectations = Expectations()
        self.hears(self.workload, self._forget_gone)
        self.workloads: Store[W] = self.watches(cast("type[Any]", self.workload))

    @abc.abstractmethod
    async def sync(self, workload: W) -> Again | None:
        """Brings one workload a step nearer to what is wanted; it is shared, so copy it before changing it."""

    def selector_of(self, workload: W) -> Selector:
        """What chooses the objects of a workload."""
        return label_selector(workload.spec.selector)

    def owns(self, kind: type[M], *indexes: Index[M]) -> Store[M]:
        """The objects of a kind that workloads own. A change enqueues the owner; one that nobody controls, those who may adopt it."""
        return self.hears(kind, self._owned_changed, BY_CONTROLLER, ORPHANS, *indexes)

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
            return None
        return await self.sync(workload)

    def _forget_gone(self, old: Message | None, new: Message | None) -> Iterable[Key]:
        """Another one of the same name must not wait for writes of the one that is gone."""
        if new is None and old is not None:
            self.expectations.forget(key_of(old))
        return ()

    def _owned_changed(self, old: Message | None, new: Message | None) -> Iterator[Key]:
        for obj in (old, new):
            owner = None if obj is None else controller_key(obj, self.workload)
            if obj is None or owner is None:
                continue
            if obj is new or new is None:
                self.expectations.saw(owner, obj, gone=new is None)
            yield owner
        if new is not None and controller_of(new) is None and not is_deleting(new):
            yield from self._adopters(new)

    def _adopters(self, orphan: Message) -> Iterator[Key]:
        metadata = metadata_of(orphan)
        for workload in self.workloads.list(metadata.namespace):
            if self.selector_of(workload).matches(metadata.labels):
                yield key_of(cast(Message, workload))
