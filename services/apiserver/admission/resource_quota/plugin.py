"""What a namespace uses stays within its quotas, whoever creates at the same time, on however many API servers.

An object and what it uses of the quotas are stored in one transaction, which fails when one of the quotas has changed meanwhile; then the
quotas are read again, and the object may be refused. docs/decisions/admission.md says why not as in Kubernetes, whose words these are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Forbidden
from knarr.machinery.resources import Resource
from knarr.objects.quotas.evaluators import CLAIMS, PODS, SERVICES, evaluator_of
from knarr.objects.quotas.quota import tracked
from knarr.objects.totals import fill
from services.apiserver.admission.attributes import CREATE, UPDATE, Attributes
from services.apiserver.admission.refusals import refused
from services.apiserver.admission.resource_quota.charges import Refusal, charge
from services.apiserver.backend import NO_EXTRA, Backend, Extra, serialize
from services.apiserver.deadline import within
from services.apiserver.entry import Entry
from services.apiserver.request import Request
from services.apiserver.storage.keys import collection_prefix
from services.apiserver.storage.store import Put
from services.apiserver.turns import Turns

QUOTAS = version_of(core.ResourceQuota).resource
CREATED = frozenset({(CREATE, "")})
# What of the core group can come to use more, and by which writes.
HANDLED = {
    PODS: CREATED | {(UPDATE, "resize")},
    SERVICES: CREATED | {(UPDATE, "")},
    CLAIMS: CREATED | {(UPDATE, ""), (UPDATE, "status")},
}
# Of one namespace: what is charged lies in one transaction, of which etcd takes 128 parts, and each create looks at all amounts.
MAX_QUOTAS, MAX_AMOUNTS = 100, 5000
STAND_BACK_SECONDS = 0.01


class ResourceQuota:
    name: ClassVar[str] = "ResourceQuota"

    def __init__(self, backend: Backend) -> None:
        self._backend, self._turns = backend, Turns()

    def handles(self, operation: str, resource: Resource, subresource: str) -> bool:
        if evaluator_of(resource) is None:
            return False
        handled = CREATED if resource.storage.group else HANDLED.get(resource.plural, CREATED)
        return (operation, subresource) in handled

    def turn(self, request: Request) -> AbstractAsyncContextManager[None] | None:
        if not self._quotas(request):
            return None
        return self._turns.of(request.namespace, request.deadline)

    async def stand_back(self) -> None:
        await asyncio.sleep(self._backend.source.uniform(0, STAND_BACK_SECONDS))

    async def charge(self, attributes: Attributes, again: bool) -> Extra:
        """``again``: another server was faster, and may be faster than this one hears of it; so the store is asked."""
        entries = self._quotas(attributes.request)
        if again and self._backend.shared:
            entries = await self._stored(entries, attributes.request)
        try:
            return self._charge(attributes, entries)
        except Forbidden:
            if not self._backend.shared:
                raise
        # Perhaps another server has given back what is missing here.
        await self._backend.latest(attributes.request.deadline)
        return self._charge(attributes, self._quotas(attributes.request))

    async def _stored(self, entries: Sequence[Entry], request: Request) -> Sequence[Entry]:
        """The same as they are now; those that are gone are left out."""
        store, cache = self._backend.store, self._backend.cache
        items = [await within(request.deadline, store.get(entry.key), "etcd") for entry in entries]
        return [entry for item in items if item is not None and (entry := cache.entry(item)) is not None]

    def _charge(self, attributes: Attributes, entries: Sequence[Entry]) -> Extra:
        evaluator = evaluator_of(attributes.resource)
        if not entries or evaluator is None:
            return NO_EXTRA
        quotas = [entry.shared_message for entry in entries]
        if _is_too_much(entries):
            limits = f"more than {MAX_QUOTAS} quotas, or {MAX_AMOUNTS} amounts in them"
            raise refused(attributes, f"its namespace has {limits}: nothing that may be counted is created there")
        try:
            charged = charge(evaluator, quotas, attributes.obj, attributes.old, self._backend.clock())
        except Refusal as refusal:
            raise refused(attributes, str(refusal)) from None
        found = {entry.name: entry for entry in entries}
        guards = {found[name].key: found[name].revision for name in charged}
        return Extra(guards, [self._put(found[name], used) for name, used in charged.items()])

    def _put(self, entry: Entry, used: Any) -> Put:
        quota: Any = entry.message
        fill(quota.status.used, used)
        return Put(entry.key, self._backend.cache.values.value(QUOTAS, entry.key, serialize(quota)))

    def _quotas(self, request: Request) -> Sequence[Entry]:
        """Those of the namespace that count such objects; where there are too many, as many as show that."""
        collection = self._backend.cache.collection(QUOTAS)
        if not len(collection):
            return ()
        listed = collection.listing(collection_prefix(QUOTAS, request.namespace))
        evaluator = evaluator_of(request.resource) if listed.blocks else None
        if evaluator is None:
            return ()
        entries = listed.first(MAX_QUOTAS + 1)
        if _is_too_much(entries):
            return entries
        return [entry for entry in entries if tracked(evaluator, entry.shared_message.status.hard)]


def _is_too_much(entries: Sequence[Entry]) -> bool:
    """Whether one create would have to look at too much of them."""
    return len(entries) > MAX_QUOTAS or sum(len(entry.shared_message.status.hard) for entry in entries) > MAX_AMOUNTS
