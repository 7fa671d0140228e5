"""ResourceQuota: says what there may be and what is used, and gives back what is used no longer.

What is used more, the API server has written down in the very transaction that stored it. So all that was stored up to the revision of a
quota is counted if it is listed after the quota was read; what comes meanwhile changes the quota, and refuses what is written here. A count
never takes back what somebody is about to use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from functools import partial
from typing import Any

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.index import Index
from knarr.client.reconciler import Again
from knarr.machinery import catalog
from knarr.machinery.errors import NotFound, StatusError
from knarr.machinery.resources import Resource
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, key_of, metadata_of
from knarr.objects.quotas.evaluator import Evaluator
from knarr.objects.quotas.evaluators import evaluator_of
from knarr.objects.quotas.quota import covers, tracked
from knarr.objects.totals import Totals
from services.controller.controller import Context, Controller
from services.controller.controllers.resourcequota.decide import decide, usage
from services.controller.watching import Listener, Watching

PAGE_SIZE = 500
# What many things that end at once wait for, to be counted once.
GATHER_SECONDS = 0.2
# After which what is new in a quota is counted once more: nobody charged for what was stored between the lists and the write, nor on an
# API server that had not heard of it yet.
UNCHARGED_SECONDS = 5.0
COUNT = "count/"
# The quotas that limit an amount.
BY_AMOUNT: Index[core.ResourceQuota] = Index("amount", lambda quota: quota.spec.hard)
# Of these the contents count too: they are heard of by their changes.
DETAILED = (core.Pod, core.Service, core.PersistentVolumeClaim)
BUILT_IN = [(resource, evaluator) for resource in catalog.registry() if (evaluator := evaluator_of(resource)) is not None]


class ResourceQuotaController(Controller):
    name = "resourcequota"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._watching = Watching(self.name, self.client, context.informers, self._heard)
        self._defined: list[tuple[Resource, Evaluator]] = []
        self._quotas = self.watches(core.ResourceQuota, BY_AMOUNT, when=_is_to_be_counted)
        for kind in DETAILED:
            context.informers.get(kind).on_change(self._heard(catalog.version_of(kind).resource))

    def _heard(self, resource: Resource) -> Listener:
        return partial(self._changed, resource)

    def _changed(self, resource: Resource, old: Message | None, new: Message | None) -> None:
        """Counts anew, in a moment, by those quotas of which an object uses less, or something else, now."""
        if old is None:
            return
        evaluator, now = evaluator_of(resource), self.context.clock.now()
        for quota in self._quotas.list(metadata_of(old).namespace):
            if evaluator is None or not tracked(evaluator, quota.spec.hard):
                continue
            if new is None or (isinstance(new, DETAILED) and _counts_otherwise(quota, evaluator, old, new, now)):
                self.queue.enqueue_after(key_of(quota), GATHER_SECONDS)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._watching.begin(group)
            await super().run()

    async def reconcile(self, key: Key) -> Again | None:
        quota: core.ResourceQuota | None = self._quotas.get(*key)
        limits_more = False
        if quota is not None:
            # As it is now: counts begin behind it. By a list, for it may do no more than list and write the status.
            page = await self.client.list(core.ResourceQuota, key.namespace, field_selector=f"metadata.name={key.name}")
            for found in page.items:
                limits_more = await self._count(copy_of(found)) or limits_more
        self._watching.keep(resource for resource, evaluator in self._known() if self._is_limited(resource, evaluator))
        seconds = self.context.settings.quota_resync_seconds
        return Again(min(UNCHARGED_SECONDS, seconds) if limits_more else seconds) if quota is not None else None

    async def _count(self, quota: core.ResourceQuota) -> bool:
        """Answers whether it limits from now on what it did not limit before. Raises the first error when all else is counted: a kind that
        cannot be listed keeps what it was, and no other kind from being counted."""
        await self._learn(quota)
        counted: Totals = {}
        failure: StatusError | None = None
        for resource, evaluator in self._known():
            names = tracked(evaluator, quota.spec.hard)
            if not names:
                continue
            try:
                objects = [obj async for obj in self._objects(resource, quota.metadata.namespace)]
            except NotFound:
                # It is served no more.
                continue
            except StatusError as error:
                failure = failure or error
                continue
            counted.update(usage(quota, evaluator, names, objects, self.context.clock.now()))
        limits_more = await self._report(quota, decide(quota, counted))
        if failure is not None:
            raise failure
        return limits_more

    async def _report(self, quota: core.ResourceQuota, wanted: core.ResourceQuotaStatus | None) -> bool:
        if wanted is None:
            return False
        limits_more = not wanted.hard.keys() <= quota.status.hard.keys()
        quota.status.CopyFrom(wanted)
        await self.client.update(quota, subresource="status")
        return limits_more

    async def _learn(self, quota: core.ResourceQuota) -> None:
        """Asks what is served, where something is counted that is not built in."""
        built_in = (evaluator for _, evaluator in BUILT_IN)
        if not set(_counts(quota.spec.hard)) - {name for evaluator in built_in for name in tracked(evaluator, quota.spec.hard)}:
            return
        others = {resource.key_prefix for resource, _ in BUILT_IN}
        served = [resource for resource in await self.client.resources() if resource.key_prefix not in others]
        self._defined = [(resource, evaluator) for resource in served if (evaluator := evaluator_of(resource)) is not None]

    def _known(self) -> list[tuple[Resource, Evaluator]]:
        return [*BUILT_IN, *self._defined]

    def _is_limited(self, resource: Resource, evaluator: Evaluator) -> bool:
        """Whether a quota counts its objects, of which nothing else is heard."""
        return not issubclass(resource.storage.message, DETAILED) and any(self._quotas.index(BY_AMOUNT, name) for name in evaluator.names)

    async def _objects(self, resource: Resource, namespace: str) -> AsyncIterator[Any]:
        token = ""
        while True:
            page = await self.client.list(resource.storage.message, namespace, limit=PAGE_SIZE, continue_token=token)
            for obj in page.items:
                yield obj
            token = page.continue_token
            if not token:
                return


def _counts_otherwise(quota: core.ResourceQuota, evaluator: Evaluator, old: Any, new: Any, now: datetime) -> bool:
    return covers(quota, evaluator, old) != covers(quota, evaluator, new) or evaluator.usage(old, now) != evaluator.usage(new, now)


def _counts(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(COUNT)]


def _is_to_be_counted(old: core.ResourceQuota | None, new: core.ResourceQuota | None) -> bool:
    """What is used changes with every object, and is right then."""
    return old is None or new is None or old.spec != new.spec or dict(new.status.hard) != dict(new.spec.hard)
