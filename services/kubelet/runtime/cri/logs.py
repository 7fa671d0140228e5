"""What the engine's containers wrote, from the files that the engine writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from services.kubelet.runtime.cri.log_files import LineLog, log_path
from services.kubelet.runtime.cri.observer import EngineObserver
from services.kubelet.runtime.logs.following import read_log
from services.kubelet.runtime.port import RUNNING, Container, LogOptions, NoSuchContainer


class EngineLogs:
    """Streams output."""

    def __init__(self, logs: Path, observer: EngineObserver) -> None:
        self._logs = logs
        self._observer = observer

    def path(self, container_id: str) -> Path | None:
        """Of a container that is known."""
        found = self._observer.observations.find(container_id)
        if found is None or not isinstance(found[1], Container):
            return None
        return log_path(self._logs, found[0], found[1].name, found[1].attempt)

    async def read(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """As ``Runtime.logs``."""
        path = self.path(container_id)
        if path is None:
            raise NoSuchContainer(f"No such container: {container_id}")
        async with aclosing(read_log(LineLog(path), options, lambda: self._runs(container_id))) as stream:  # type: ignore[type-var]
            async for data in stream:
                yield data

    def _runs(self, container_id: str) -> bool:
        container = self._observer.observations.container(container_id)
        return container is not None and container.state == RUNNING
