"""What the engine tells of itself (`docker info`): its version, how it is set up, and its own runtimes, one of which is its default."""

from __future__ import annotations

from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.port import NoSuchHandler


class EngineFacts:
    """As it said last. It may be given other runtimes while it runs: it is asked when it comes back, and before somebody hears that there
    is none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.version = "Unknown"
        # Its own folder, and its way with control groups.
        self.root = self.cgroup_driver = ""
        # What may run a pod, by name.
        self.handlers: tuple[str, ...] = ()

    async def read(self, timeout_seconds: float | None = None) -> None:
        """Asks the engine. Raises RuntimeFailure."""
        info = await self._engine.request("GET", "info", timeout_seconds=timeout_seconds)
        self.version = str(info["ServerVersion"]).partition("+")[0]
        self.root, self.cgroup_driver = str(info.get("DockerRootDir") or ""), str(info.get("CgroupDriver") or "")
        self.handlers = tuple(sorted(info.get("Runtimes") or {}))

    async def check(self, handler: str) -> None:
        """Raises NoSuchHandler."""
        if not handler or handler in self.handlers:
            return
        await self.read()
        if handler not in self.handlers:
            raise NoSuchHandler(handler)
