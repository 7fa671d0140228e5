"""What a namespace uses stays within its quotas, whoever creates at the same time, on however many API servers.

An object and what it uses of the quotas are stored in one transaction, which fails when one of the quotas has changed meanwhile; then the
quotas are read again, and the object may be refused. docs/decisions/admission.md says why not as in Kubernetes, whose words these are.
"""

from __future__ import annotations

import asyncio
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
from services.apiserver.entry import Entry
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
# All lie in one transaction, of which etcd takes 128 parts.
MAX_CHARGED = 100
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

    def turn(self, attributes: Attributes) -> AbstractAsyncContextManager[None] | None:
        if not self._quotas(attributes):
            return None
        return self._turns.of(attributes.namespace, attributes.request.deadline)

    async def stand_back(self) -> None:
        await asyncio.sleep(self._backend.source.uniform(0, STAND_BACK_SECONDS))

    async def charge(self, attributes: Attributes) -> Extra:
        try:
            return self._charge(attributes)
        except Forbidden:
            if not self._backend.shared:
                raise
        # Perhaps another server has given back what is missing here.
        await self._backend.latest(attributes.request.deadline)
        return self._charge(attributes)

    def _charge(self, attributes: Attributes) -> Extra:
        entries = self._quotas(attributes)
        evaluator = evaluator_of(attributes.resource)
        if not entries or evaluator is None:
            return NO_EXTRA
        quotas = [entry.shared_message for entry in entries]
        try:
            charged = charge(evaluator, quotas, attributes.obj, attributes.old, self._backend.clock())
        except Refusal as refusal:
            raise refused(attributes, str(refusal)) from None
        if len(charged) > MAX_CHARGED:
            raise refused(attributes, f"{len(charged)} quotas of its namespace count it; there may be no more than {MAX_CHARGED}")
        found = {entry.name: entry for entry in entries}
        guards = {found[name].key: found[name].revision for name in charged}
        return Extra(guards, [self._put(found[name], used) for name, used in charged.items()])

    def _put(self, entry: Entry, used: Any) -> Put:
        quota: Any = entry.message
        fill(quota.status.used, used)
        return Put(entry.key, self._backend.cache.values.value(QUOTAS, entry.key, serialize(quota)))

    def _quotas(self, attributes: Attributes) -> list[Entry]:
        """Those of the namespace that count such objects."""
        collection = self._backend.cache.collection(QUOTAS)
        evaluator = evaluator_of(attributes.resource) if len(collection) else None
        if evaluator is None:
            return []
        entries = collection.listing(collection_prefix(QUOTAS, attributes.namespace))
        return [entry for entry in entries if tracked(evaluator, entry.shared_message.status.hard)]
