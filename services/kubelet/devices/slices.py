"""Takes back what drivers that are away have told of this node's devices: pods would be sent here for them, and wait without an end.

As in Kubernetes, a driver that starts anew within half a minute keeps its ResourceSlices; one that comes later publishes them again. A
driver is away when none of its sockets is registered, or nobody listens at it: one that was killed leaves its socket behind. Kubernetes
takes all slices back when a kubelet begins. Here a driver gets the same half minute then: most are back at once, and the scheduler would
see devices go and come that are in use.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection

from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.machinery.errors import NotFound, StatusError
from services.kubelet.devices.drivers import DeviceDrivers

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
# How long a driver may be away before its slices go, as in Kubernetes.
PATIENCE_SECONDS = 30.0
RETRY = Backoff(first_seconds=5.0, limit_seconds=300.0)


class Absences:
    """Which drivers are away, and since when, in seconds of one clock. Pure."""

    def __init__(self, published: Collection[str], now: float) -> None:
        """``published`` are the drivers that told something of this node before."""
        self._since: dict[str, float | None] = dict.fromkeys(published, now)

    def look(self, known: Collection[str], present: Collection[str], now: float) -> list[str]:
        """Of all that are ``known``, now and earlier, those that have been away for too long, until it is said what became of them."""
        for name in {*self._since, *known}:
            if name in present:
                self._since[name] = None
            elif self._since.get(name) is None:
                self._since[name] = now
        return sorted(name for name, since in self._since.items() if since is not None and now - since >= PATIENCE_SECONDS)

    def settle(self, name: str) -> None:
        """Nothing is left of what a driver told: until it was back there is nothing to take back."""
        self._since[name] = math.inf


class DeviceSlices:
    """Those of one node."""

    def __init__(self, client: Client, node_name: str, drivers: DeviceDrivers) -> None:
        self._client, self._node_name, self._drivers = client, node_name, drivers

    async def run(self) -> None:
        """Until cancelled."""
        absences: Absences | None = None
        failures = 0
        while True:
            try:
                absences = absences or Absences({found.spec.driver for found in await self._published()}, _now())
                for name in absences.look(self._drivers.known, self._drivers.listening(), _now()):
                    await self._withdraw(name)
                    absences.settle(name)
                failures = 0
            except StatusError as error:
                failures += 1
                log.warning("the ResourceSlices of drivers that are away stay for now", extra={"error": str(error)})
            await asyncio.sleep(RETRY.delay(failures) if failures else LOOK_SECONDS)

    async def _withdraw(self, driver: str) -> None:
        for found in await self._published(driver):
            try:
                await self._client.delete(resource.ResourceSlice, found.metadata.name, uid=found.metadata.uid)
            except NotFound:
                continue
            extra = {"driver": driver, "slice": found.metadata.name}
            log.info("a driver of devices is away: what it told of them is taken back", extra=extra)

    async def _published(self, driver: str = "") -> Collection[resource.ResourceSlice]:
        selector = f"spec.nodeName={self._node_name}" + (f",spec.driver={driver}" if driver else "")
        return (await self._client.list(resource.ResourceSlice, field_selector=selector)).items


def _now() -> float:
    return asyncio.get_running_loop().time()
