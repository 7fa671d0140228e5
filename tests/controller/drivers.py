"""A driver of volumes without a wire, for virtual time: what the tests' driver does, called straight."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.errors import StatusError
from services.controller.controller import Controller
from services.controller.csi.driver import Abilities, Driver, DriverError
from tests.controller.cluster import Cluster, cluster
from tests.controller.disks import DRIVER
from tests.controller.storage import asking, storage_class
from tests.support.csi import controller as served
from tests.support.csi.storage import DEFAULT_BYTES, Disk, Refused, Storage
from tests.support.mishaps import Fate


class Shelf(Storage):
    """Volumes without folders."""

    def make(self, name: str, size_bytes: int = DEFAULT_BYTES) -> Disk:
        disk = Disk(f"vol-{name}", name, Path("/nowhere"), size_bytes)
        self.disks[disk.id] = disk
        return disk

    def remove(self, disk: Disk) -> None:
        del self.disks[disk.id]


@dataclass
class Rack:
    """A driver, and what was asked of it. ``faults``: errors for the next calls of a method; None: it is done, and not answered."""

    can: Iterable[int] = served.ALL
    topology: bool = False
    node_expansion: bool = True
    shelf: Shelf = field(default_factory=lambda: Shelf(Path("/nowhere")))
    violations: list[str] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    faults: dict[str, list[DriverError | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = served.ControllerServer(self.shelf, self.can, self.violations, node_expansion=self.node_expansion, limit=0)

    def calls(self, *methods: str) -> list[str]:
        return [method for method, _ in self.asked if not methods or method in methods]

    def told(self) -> list[str]:
        """What there is of it at the end of a scenario."""
        disks = self.shelf.disks.values()
        return [*(f"disk of {disk.size_bytes} bytes at {sorted(disk.attached)}" for disk in disks), *self.violations]


class DirectDriver(Driver):
    """``fate``: who may die at a call."""

    def __init__(self, rack: Rack, fate: Fate | None = None) -> None:
        self._rack, self._fate, self._life = rack, fate, fate.life if fate is not None else 0

    async def abilities(self) -> Abilities:
        return Abilities(frozenset(self._rack.can), self._rack.topology, self._rack.node_expansion)

    async def create(self, request: Any) -> Any:
        return await self._call("CreateVolume", request, self._rack.server.CreateVolume)

    async def delete(self, request: Any) -> None:
        await self._call("DeleteVolume", request, self._rack.server.DeleteVolume)

    async def publish(self, request: Any) -> Any:
        return await self._call("ControllerPublishVolume", request, self._rack.server.ControllerPublishVolume)

    async def unpublish(self, request: Any) -> None:
        await self._call("ControllerUnpublishVolume", request, self._rack.server.ControllerUnpublishVolume)

    async def expand(self, request: Any) -> Any:
        return await self._call("ControllerExpandVolume", request, self._rack.server.ControllerExpandVolume)

    async def modify(self, request: Any) -> None:
        await self._call("ControllerModifyVolume", request, self._rack.server.ControllerModifyVolume)

    async def capacity(self, request: Any) -> Any:
        return await self._call("GetCapacity", request, self._rack.server.GetCapacity)

    async def _call(self, method: str, request: Any, work: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        async def act() -> Any:
            self._rack.asked.append((method, request))
            faults = self._rack.faults.get(method, [])
            fault = faults.pop(0) if faults else ()
            if isinstance(fault, DriverError):
                raise fault
            try:
                answer = await work(request, None)
            except Refused as error:
                raise DriverError(error.code, error.message) from error
            if fault is None:
                raise DriverError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            return answer

        if self._fate is None:
            return await act()
        try:
            return await self._fate.write(self._life, f"call {method} of", act)
        except StatusError as error:
            code = grpc.StatusCode.DEADLINE_EXCEEDED if error.reason == "Timeout" else grpc.StatusCode.UNAVAILABLE
            raise DriverError(code, str(error)) from error


def disks_class(name: str = "disks", *, waits: bool = False, **parameters: str) -> storage.StorageClass:
    made = storage_class(name, provisioner=DRIVER, waits=waits)
    made.allow_volume_expansion = True
    made.parameters.update(parameters)
    return made


def attributes(name: str, *, driver: str = DRIVER, **parameters: str) -> storage.VolumeAttributesClass:
    made = storage.VolumeAttributesClass(driver_name=driver, parameters=parameters or {"iops": "5"})
    made.metadata.name = name
    return made


def wanting(name: str = "data", size: str = "1Gi", *, of: str = "disks") -> core.PersistentVolumeClaim:
    return asking(name, size, of=of)


@asynccontextmanager
async def driven(rack: Rack, controllers: Sequence[type[Controller]], **settings: Any) -> AsyncIterator[Cluster]:
    """Controllers that were told of the driver."""
    connect = lambda name, endpoint, seconds: DirectDriver(rack)  # noqa: E731
    async with cluster(kubelet=False, controllers=controllers, connect=connect, csi_drivers={DRIVER: "unix:///nowhere"}, **settings) as c:
        yield c
