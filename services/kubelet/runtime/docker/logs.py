"""What the engine's containers wrote: from the engine's files where they are seen, else from the engine.

An engine that is asked for a log skips what is rotated away before it has read it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from services.kubelet.runtime.docker.engine_logs import EngineLogs
from services.kubelet.runtime.docker.facts import EngineFacts
from services.kubelet.runtime.docker.log_records import LocalLog
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.logs.following import read_log
from services.kubelet.runtime.port import RUNNING, LogOptions

# Of the driver `local`, below the engine's folder of a container.
LOG_FILE = Path("local-logs", "container.log")


class ContainerLogs:
    """Streams output. ``facts`` say where the engine's folder is, if it is on this machine."""

    def __init__(self, engine_logs: EngineLogs, observer: EngineObserver, facts: EngineFacts) -> None:
        self._engine_logs = engine_logs
        self._observer = observer
        self._facts = facts

    async def read(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """As ``Runtime.logs``."""
        path = Path(self._facts.root, "containers", container_id, LOG_FILE)
        # No other container has its id, so that a folder by its name is its own. The file itself is away for a moment at each rotation.
        if bool(self._facts.root) and await asyncio.to_thread(_is_seen, path.parent):
            output = read_log(LocalLog(path), options, lambda: self._observer.state(container_id) == RUNNING)
        else:
            output = self._engine_logs.read(container_id, options)
        async with aclosing(output) as stream:  # type: ignore[type-var]
            async for data in stream:
                yield data


def _is_seen(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)
