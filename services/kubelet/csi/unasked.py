"""The volumes of drivers on a node whose containers see none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.csi.mounts import DriverMounts
from services.kubelet.csi.volume import DriverVolume


class UnaskedDrivers(DriverMounts):
    """No driver is known or asked, and a pod has its volumes at once."""

    async def load(self) -> None: ...

    async def set_up(self, pod: core.Pod, volumes: Iterable[DriverVolume], group: int | None) -> list[Path]:
        return []

    async def tear_down(self, uid: str) -> None: ...
