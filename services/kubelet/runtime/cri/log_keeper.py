"""Keeps containers' logs from filling the disk: the engine writes one file without end, and the kubelet takes it away from it in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from pathlib import Path

from knarr.api.cri.v1 import container_pb2 as cri
from services.kubelet.runtime.cri.engine import Engine
from services.kubelet.runtime.cri.log_files import generations, log_path, rotated_path
from services.kubelet.runtime.cri.observer import EngineObserver
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.port import RUNNING, RuntimeFailure

log = logging.getLogger(__name__)


class LogKeeper:
    """``run`` once, until cancelled."""

    def __init__(self, engine: Engine, settings: CriSettings, observer: EngineObserver) -> None:
        self._engine = engine
        self._settings = settings
        self._observer = observer

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.log_check_seconds)
            await self.look()

    async def look(self) -> None:
        """Rotates what is too large, once; a failure is logged and tried again with the next look."""
        for pod in list(self._observer.observations.pods.values()):
            for container in pod.containers:
                if container.state == RUNNING:
                    path = log_path(self._settings.logs, pod.ref, container.name, container.attempt)
                    try:
                        await self._keep(container.id, path)
                    except (OSError, RuntimeFailure) as error:
                        log.warning("a container's log was not rotated", extra={"container": container.id, "error": str(error)})

    async def _keep(self, container_id: str, path: Path) -> None:
        size = await asyncio.to_thread(_size, path)
        if size is None:
            if await asyncio.to_thread(generations, path):
                # It was renamed, and the engine was not told, or made no other: it writes to the renamed one.
                await self._reopen(container_id)
        elif size > self._settings.log_max_bytes:
            await self._rotate(container_id, path)

    async def _rotate(self, container_id: str, path: Path) -> None:
        # First, so that there is room for the new one where the disk is full.
        await asyncio.to_thread(_thin_out, path, self._settings.log_max_files - 1)
        moved = await asyncio.to_thread(rotated_path, path, datetime.now(UTC))
        await asyncio.to_thread(path.rename, moved)
        try:
            await self._reopen(container_id)
        except RuntimeFailure:
            await asyncio.to_thread(_put_back, moved, path)
            raise

    async def _reopen(self, container_id: str) -> None:
        await self._engine.runtime("ReopenContainerLog", cri.ReopenContainerLogRequest(container_id=container_id))


def _put_back(moved: Path, path: Path) -> None:
    """The engine writes to the file by whatever name. Where it has made a new one meanwhile, that stays."""
    if moved.exists() and not path.exists():
        moved.rename(path)


def _thin_out(path: Path, kept: int) -> None:
    for old in generations(path)[:-kept]:
        with contextlib.suppress(OSError):
            old.unlink()


def _size(path: Path) -> int | None:
    """None where there is no file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
