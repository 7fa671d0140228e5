"""Keeps the records of what Services hold in step with the Services themselves.

A crash cannot break them (both lie in one transaction), but a restored backup or a store written
by others can. Every API server looks at its start; afterwards one of them a period does.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from knarr.client.events import WARNING, EventRecorder
from knarr.machinery.errors import StatusError
from services.apiserver.allocators.audit import Audit, audit_addresses, audit_ports
from services.apiserver.allocators.ledger import Ledger
from services.apiserver.allocators.services import SERVICES, ServiceAllocators
from services.apiserver.backend import Backend
from services.apiserver.storage.store import Put, Transaction

log = logging.getLogger(__name__)

TURN_KEY = "service_repair_key"


async def repair(backend: Backend, allocators: ServiceAllocators, recorder: EventRecorder | None = None) -> bool:
    """Records what Services hold and frees what nobody holds; answers whether it changed anything.

    Left to the next time when others write meanwhile. Tells the Services concerned by events.
    """
    await backend.synced()
    addresses = await _repair(backend, allocators, allocators.address_ledger, recorder)
    return await _repair(backend, allocators, allocators.port_ledger, recorder) or addresses


class Repairer:
    """Repairs once a period, whichever API server is first in it. Runs until cancelled."""

    def __init__(self, backend: Backend, allocators: ServiceAllocators, recorder: EventRecorder, period_seconds: float) -> None:
        self._backend, self._allocators, self._recorder = backend, allocators, recorder
        self._period_seconds = period_seconds
        self._known = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._period_seconds)
            try:
                if await self.take_turn():
                    await repair(self._backend, self._allocators, self._recorder)
            except StatusError as error:
                log.warning("what Services hold was not looked over, trying again later", extra={"reason": str(error)})

    async def take_turn(self) -> bool:
        """Whether nobody else has had the turn since the last look; if so it is this server's now."""
        store = self._backend.store
        item = await store.get(TURN_KEY)
        revision = item.revision if item else 0
        if revision != self._known:
            self._known = revision
            return False
        outcome = await store.commit(Transaction({TURN_KEY: revision}, [Put(TURN_KEY, b"")]))
        if outcome.succeeded:
            self._known = outcome.revision
        return outcome.succeeded


async def _repair(backend: Backend, allocators: ServiceAllocators, ledger: Ledger, recorder: EventRecorder | None) -> bool:
    taken, revision = await ledger.read()
    if revision > backend.cache.revision:
        return False
    services: list[Any] = [entry.shared_message for entry in backend.cache.collection(SERVICES).listing(SERVICES.key_prefix)]
    if ledger is allocators.address_ledger:
        found = audit_addresses(services, allocators.addresses, taken)
    else:
        found = audit_ports(services, allocators.ports, taken)
    _tell(ledger, found, recorder)
    if found.held == taken:
        return False
    extra = ledger.change(found.held, revision)
    return (await backend.store.commit(Transaction(extra.guards, extra.puts))).succeeded


def _tell(ledger: Ledger, found: Audit, recorder: EventRecorder | None) -> None:
    for finding in found.findings:
        name = f"{finding.service.metadata.namespace}/{finding.service.metadata.name}"
        log.warning("%s", finding.message, extra={"reason": finding.reason, "service": name})
        if recorder is not None:
            recorder.event(finding.service, WARNING, finding.reason, finding.message)
    if found.leaked:
        shown = sorted(found.leaked)[:10]
        log.warning("numbers appear to have leaked: cleaning up", extra={"key": ledger.key, "count": len(found.leaked), "first": shown})
