"""What of the engine may run a pod: its own runtimes (`docker info`), one of which is its default."""

from __future__ import annotations

from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.port import NoSuchHandler


class EngineHandlers:
    """The engine may be given others while it runs: it is asked when it comes back, and before somebody hears that there is none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.names: tuple[str, ...] = ()

    async def read(self) -> None:
        """Asks the engine. Raises RuntimeFailure."""
        info = await self._engine.request("GET", "info")
        self.names = tuple(sorted(info.get("Runtimes") or {}))

    async def check(self, handler: str) -> None:
        """Raises NoSuchHandler."""
        if not handler or handler in self.names:
            return
        await self.read()
        if handler not in self.names:
            raise NoSuchHandler(handler)
