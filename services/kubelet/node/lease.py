"""The node's Lease: its heartbeat, by which the controller tells that the node lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.machinery.times import to_micro_time
from knarr.objects.copies import copy_of
from knarr.objects.owners import owner_reference
from services.kubelet.settings import KubeletSettings

log = logging.getLogger(__name__)

# How long the node's reports wait after the API server did not take one: below the duration of a Lease. By chance otherwise for each node:
# those that failed together are not to come together again.
RETRY = Backoff(first_seconds=0.4, limit_seconds=7.0, jitter=0.5)

LEASE_NAMESPACE = "kube-node-lease"


class LeaseKeeper:
    """Renews one Lease. ``node`` answers the Node that owns it, once there is one."""

    def __init__(self, client: Client, settings: KubeletSettings, clock: Clock, node: Callable[[], core.Node | None]) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._node = node
        # As it was written last: nobody else writes it, so that it need not be read for each renewal.
        self._written: coordination.Lease | None = None

    async def run(self) -> None:
        """Until cancelled; an API that is away is tried again."""
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self._renew()
                failures = 0
            except StatusError as error:
                failures += 1
                log.warning("lease not renewed", extra={"error": str(error)})
            period = self._settings.lease_renew_seconds
            await asyncio.sleep(patience_seconds(failures, loop.time() - begun, period) if failures else period)

    async def _renew(self) -> None:
        known, self._written = self._written, None
        if known is not None:
            try:
                self._written = await self._update(known)
                return
            except (Conflict, NotFound):
                # Somebody else did.
                pass
        try:
            found = await self._client.get(coordination.Lease, self._settings.node_name, LEASE_NAMESPACE)
        except NotFound:
            self._written = await self._client.create(self._renewed(coordination.Lease()))
            return
        self._written = await self._update(found)

    async def _update(self, lease: coordination.Lease) -> coordination.Lease:
        return await self._client.update(self._renewed(lease))

    def _renewed(self, lease: coordination.Lease) -> coordination.Lease:
        return renewed(lease, self._settings, self._node(), self._clock.now())


def patience_seconds(failures: int, took_seconds: float, most_seconds: float) -> float:
    """How long a report waits after so many failures in a row, of which the last took so long. A server that takes its time to refuse has
    too much to do: of a thousand nodes that all come again at once it would never get rid. ``most_seconds``: for which it waits at most."""
    return max(RETRY.delay(failures), min(took_seconds, most_seconds))


def renewed(lease: coordination.Lease, settings: KubeletSettings, node: core.Node | None, now: datetime) -> coordination.Lease:
    """The Lease as it is written at ``now``."""
    result = copy_of(lease)
    result.metadata.name, result.metadata.namespace = settings.node_name, LEASE_NAMESPACE
    result.spec.holder_identity = settings.node_name
    result.spec.lease_duration_seconds = settings.lease_duration_seconds
    result.spec.renew_time.CopyFrom(to_micro_time(now))
    if node is not None and not result.metadata.owner_references:
        result.metadata.owner_references.append(owner_reference(node, controller=False, block_owner_deletion=False))
    return result
