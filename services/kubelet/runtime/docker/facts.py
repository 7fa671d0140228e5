"""What the engine tells of itself (`docker info`): its version, how it is set up, and its own runtimes, one of which is its default."""

from __future__ import annotations

from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.port import NoSuchHandler

# Engines that start a process of their own with each container whose network namespace is new, by which they get hold of that. Some of
# 26 do not, 28 and later ones never do.
HOOKED = range(20, 28)


class EngineFacts:
    """As it said last. It may be given other runtimes while it runs: it is asked when it comes back, and before somebody hears that there
    is none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.version = "Unknown"
        # Its own folder, and its way with control groups.
        self.root = self.cgroup_driver = ""
        # Whether it finds devices in the files of the container device interface.
        self.reads_cdi = False
        # What may run a pod, by name.
        self.handlers: tuple[str, ...] = ()

    async def read(self, timeout_seconds: float | None = None) -> None:
        """Asks the engine. Raises RuntimeFailure."""
        info = await self._engine.request("GET", "info", timeout_seconds=timeout_seconds)
        self.version = str(info["ServerVersion"]).partition("+")[0]
        self.root, self.cgroup_driver = str(info.get("DockerRootDir") or ""), str(info.get("CgroupDriver") or "")
        self.reads_cdi = bool(info.get("CDISpecDirs"))
        self.handlers = tuple(sorted(info.get("Runtimes") or {}))

    @property
    def hooks_networks(self) -> bool:
        """Whether the engine starts a process with each sandbox only to know its network."""
        major = self.version.partition(".")[0]
        return major.isdecimal() and int(major) in HOOKED

    async def check(self, handler: str) -> None:
        """Raises NoSuchHandler."""
        if not handler or handler in self.handlers:
            return
        await self.read()
        if handler not in self.handlers:
            raise NoSuchHandler(handler)
