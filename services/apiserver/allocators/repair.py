"""Brings the records of what Services hold back in step with the Services themselves, at start.

A crash cannot break them (both lie in one transaction), but a restored backup or a store written
by others can.
"""

from __future__ import annotations

import logging
from typing import Any

from services.apiserver.allocators.ledger import Ledger
from services.apiserver.allocators.services import SERVICES, ServiceAllocators, held_address, held_ports
from services.apiserver.pipeline.backend import Backend
from services.apiserver.storage.store import Transaction

log = logging.getLogger(__name__)


async def repair(backend: Backend, allocators: ServiceAllocators) -> None:
    """Records what Services hold and frees what nobody holds. Left to the next start when others write meanwhile."""
    await backend.synced()
    collection = backend.cache.collection(SERVICES)
    services: list[Any] = [entry.shared_message for entry in collection.listing(SERVICES.storage_prefix).entries]
    numbers = (allocators.addresses.number(held_address(service)) for service in services)
    await _repair(backend, allocators.address_ledger, {number for number in numbers if number is not None})
    ports = {port for service in services for port in held_ports(service)}
    await _repair(backend, allocators.port_ledger, {port for port in ports if port in allocators.ports})


async def _repair(backend: Backend, ledger: Ledger, held: set[int]) -> None:
    taken, revision = await ledger.read()
    if held == taken or revision > backend.cache.revision:
        return
    log.warning("repairing the record of a range", extra={"key": ledger.key, "missing": len(held - taken), "leaked": len(taken - held)})
    extra = ledger.change(held, revision)
    await backend.store.commit(Transaction(extra.guards, extra.puts))
