"""The drivers that the node has: a socket comes into the registry's folder, the driver behind it is asked, and the cluster is told of it.

The folder is looked at; a look costs one call of the kernel while nothing changes. A driver whose registration fails is told why, and
asked again after a while; one whose socket is gone is the node's no more, and what pods have of it stays until it is back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.pluginregistration.v1 import registration_pb2
from knarr.client.backoff import Backoff
from knarr.machinery.errors import StatusError
from knarr.service.tasks import cancel
from services.kubelet.csi.client import DriverClient, DriverError
from services.kubelet.csi.node_info import Collision, NodeInfo, NodeInfoKeeper
from services.kubelet.csi.places import Places, seen_here, told_to
from services.kubelet.csi.registration import PluginHandler, ask, check, tell, the_very

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
RETRY = Backoff(first_seconds=0.5, limit_seconds=120.0)
# A node has a handful; who fills the folder otherwise is not followed.
MOST_SOCKETS = 100
NEVER = -2
SETTLED_NANOSECONDS = 2_000_000_000


@dataclass(frozen=True)
class Driver:
    """One that the node has. ``endpoint`` is its socket as it told of it, ``can`` what its node's part can do."""

    name: str
    endpoint: str
    client: DriverClient
    info: NodeInfo
    can: frozenset[int]
    data_dir: Path

    def path(self, path: Path) -> str:
        """A path of this node, as the driver sees it."""
        return told_to(self.endpoint, path, self.data_dir)


@dataclass(slots=True)
class _Socket:
    """One of the registry: which file it is, what is done with it, and the name of the driver of which the cluster may have been told."""

    mark: tuple[int, int]
    task: asyncio.Task[None]
    driver: str = ""


class Drivers:
    """Keeps them. ``node`` answers the Node as the kubelet knows it: one that was made anew is told everything again. ``others`` are told
    of plugins of their kinds, whose sockets lie in the same folder."""

    def __init__(
        self, places: Places, keeper: NodeInfoKeeper, node: Callable[[], core.Node | None], others: Iterable[PluginHandler] = ()
    ) -> None:
        self._others = {other.kind: other for other in others}
        self._places, self._keeper, self._node = places, keeper, node
        self._sockets: dict[Path, _Socket] = {}
        self._by_name: dict[str, Driver] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        # What the cluster is told of a driver that comes and goes is told in that order.
        self._telling = asyncio.Lock()
        self._changed = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._folder_mark = NEVER
        self._node_uid = ""

    def get(self, name: str) -> Driver:
        """Raises DriverError, in Kubernetes' words, while the node has none of the name."""
        driver = self._by_name.get(name)
        if driver is None:
            raise DriverError(f"driver name {name} not found in the list of registered CSI drivers")
        return driver

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def on_register(self, listener: Callable[[], None]) -> None:
        """Hears of each driver that has come."""
        self._listeners.append(listener)

    async def wait_change(self, seconds: float) -> None:
        """Until a driver comes, or so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def run(self) -> None:
        """Until cancelled."""
        for folder in (self._places.registry, self._places.plugins):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o750)
        try:
            while True:
                self._look()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await cancel([*(socket.task for socket in self._sockets.values()), *self._leaving])

    def _look(self) -> None:
        node = self._node()
        if node is None:
            # Nothing can be told of a node that is not registered.
            return
        anew = node.metadata.uid != self._node_uid
        if anew:
            self._node_uid, self._folder_mark = node.metadata.uid, NEVER
        folder_mark = _mark_of(self._places.registry)
        if folder_mark == self._folder_mark:
            return
        # What happens in the same moment leaves the same mark: a young one is looked at again.
        self._folder_mark = folder_mark if time.time_ns() - folder_mark > SETTLED_NANOSECONDS else NEVER
        found = _sockets(self._places.registry)
        for path in [path for path in self._sockets if path not in found]:
            socket = self._sockets.pop(path)
            socket.task.cancel()
            self._gone(socket.driver)
            self._leave_to(None, path)
        for path, mark in found.items():
            known = self._sockets.get(path)
            if known is None or known.mark != mark or anew:
                self._begin(path, mark, known)

    def _begin(self, path: Path, mark: tuple[int, int], before: _Socket | None) -> None:
        """Asks who is at a socket; who was there ``before`` is the node's until somebody else says that he is."""
        if before is not None:
            before.task.cancel()
        task = asyncio.create_task(self._register(path), name=f"kubelet/driver/{path.name}")
        self._sockets[path] = _Socket(mark, task, before.driver if before is not None else "")

    def _gone(self, name: str) -> None:
        """A socket has no longer the driver of that name, if it had one."""
        if name and all(other.driver != name for other in self._sockets.values()):
            self._by_name.pop(name, None)
            log.info("a volume driver is gone", extra={"driver": name})
            task = asyncio.create_task(self._deregister(name), name=f"kubelet/driver/{name}/gone")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _deregister(self, name: str) -> None:
        failures = 0
        while True:
            try:
                async with self._telling:
                    if name not in self._by_name:
                        await self._keeper.remove(name)
                return
            except StatusError as error:
                failures += 1
                log.warning("the cluster was not told that a volume driver is gone", extra={"driver": name, "error": str(error)})
            await asyncio.sleep(RETRY.delay(failures))

    async def _register(self, path: Path) -> None:
        failures = 0
        while True:
            try:
                with the_very(path) as socket:
                    await self._greet(path, socket)
                return
            except (DriverError, StatusError, Collision, OSError) as error:
                failures += 1
                log.warning("a plugin is not registered", extra={"socket": str(path), "error": str(error)})
            await asyncio.sleep(RETRY.delay(failures))

    async def _greet(self, path: Path, socket: Path) -> None:
        """Makes who is at a socket the node's, and tells it so, or why not. Raises what it is told."""
        try:
            name = await self._ask(path, socket)
            await tell(socket, "")
        except (DriverError, StatusError, Collision, OSError) as error:
            await self._refuse(path, socket, str(error))
            raise
        log.info("a plugin is registered", extra={"plugin": name})

    async def _ask(self, path: Path, socket: Path) -> str:
        """The name of who is there now."""
        info = await ask(socket)
        other = self._others.get(info.type)
        self._leave_to(other, path)
        if other is None:
            await self._take(info, path)
        else:
            other.take(info, path)
            async with self._telling:
                known = self._sockets[path]
                before, known.driver = known.driver, ""
                self._gone(before)
        self._changed.set()
        self._changed = asyncio.Event()
        for listener in self._listeners:
            listener()
        return info.name

    def _leave_to(self, other: PluginHandler | None, path: Path) -> None:
        """None of the others but this one, if any, has a plugin at a socket."""
        for handler in self._others.values():
            if handler is not other:
                handler.lose(path)

    async def _take(self, info: registration_pb2.PluginInfo, path: Path) -> None:
        check(info, path)
        endpoint = info.endpoint or str(path)
        client = DriverClient(Path(seen_here(endpoint, str(self._places.data_dir))))
        about, can = await client.info(), await client.capabilities()
        if not about.node_id:
            raise DriverError(f"CSI driver {info.name} has no name for this node: NodeGetInfo answered no node_id")
        node = NodeInfo(about.node_id, dict(about.accessible_topology.segments), about.max_volumes_per_node)
        driver = Driver(info.name, endpoint, client, node, can, self._places.data_dir)
        async with self._telling:
            known = self._sockets[path]
            before, known.driver = known.driver, driver.name
            if before != driver.name:
                self._gone(before)
            await self._keeper.add(driver.name, node)
            self._by_name[driver.name] = driver

    async def _refuse(self, path: Path, socket: Path, words: str) -> None:
        try:
            await tell(socket, words)
        except DriverError as error:
            log.info("a plugin was not told that it is refused", extra={"socket": str(path), "error": str(error)})


def _mark_of(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return -1


def _sockets(folder: Path) -> dict[Path, tuple[int, int]]:
    """The sockets that lie there, each with what tells a new one of the same name. Hidden ones are being made."""
    found: dict[Path, tuple[int, int]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if not entry.name.startswith(".") and stat.S_ISSOCK(status.st_mode):
                    found[Path(entry.path)] = (status.st_ino, status.st_mtime_ns)
    except OSError as error:
        log.warning("the folder of plugins cannot be read", extra={"folder": str(folder), "error": str(error)})
    return dict(sorted(found.items())[:MOST_SOCKETS])
