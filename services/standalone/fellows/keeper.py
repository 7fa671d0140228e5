"""Has the fellows that there are to be, and takes away those that are to be no more. A part of the cluster's process."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress

from knarr.service.errors import CommandError
from knarr.service.tasks import cancel
from services.kubelet.cgroups.hierarchy import Hierarchy
from services.kubelet.cgroups.names import CGROUPFS, root_of
from services.kubelet.node.mounts import unmount_all
from services.kubelet.runtime.port import RuntimeFailure
from services.standalone.fellows.credentials import keep_credentials
from services.standalone.fellows.order import Start
from services.standalone.fellows.places import Places
from services.standalone.fellows.plan import Fellow, fellows, running_fellows
from services.standalone.fellows.spawning import STOP_SECONDS, Spawning
from services.standalone.runs import Runs
from services.standalone.settings import ClusterSettings

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
# How often certificates are looked at, which are made anew 30 days before they expire.
RENEW_SECONDS = 6 * 3600.0


class Fellows:
    """Those of one cluster, whose own node has the ``address``. ``run`` it; ``settings`` has the ports that were found."""

    def __init__(self, settings: ClusterSettings, address: str, runs: Callable[[str], Runs]) -> None:
        self._settings, self._address, self._runs = settings, address, runs
        self._chosen = asyncio.Event()
        self._chosen.set()
        self._tasks: dict[Fellow, asyncio.Task[None]] = {}
        # Of which something may be left.
        self._gone: set[Fellow] = set()
        self._spawning = Spawning()

    def become(self, settings: ClusterSettings) -> None:
        """From now on those that these settings say."""
        self._gone |= set(fellows(self._settings))
        self._settings = settings
        self._gone -= set(fellows(settings))
        self._chosen.set()

    def prepare(self) -> None:
        """Begins to load what nodes need, where there are to be any."""
        if running_fellows(self._settings):
            self._spawning.prepare()

    async def run(self) -> None:
        """Until cancelled; then all have ended, and their pods go on."""
        places = Places(self._settings)
        try:
            while True:
                await self._chosen.wait()
                self._chosen.clear()
                await self._follow(places)
        finally:
            await cancel(self._tasks.values(), STOP_SECONDS)
            await self._spawning.end()
            await places.close()

    async def _follow(self, places: Places) -> None:
        wanted, there = running_fellows(self._settings), fellows(self._settings)
        for fellow in [one for one in self._tasks if one not in wanted]:
            await cancel([self._tasks.pop(fellow)], STOP_SECONDS)
        for fellow in list(self._gone):
            self._gone.discard(fellow)
            await self._take_away(places, fellow)
        for fellow in there:
            if fellow not in wanted:
                await self._switch_off(places, fellow)
        for fellow in wanted:
            if fellow not in self._tasks:
                self._tasks[fellow] = asyncio.create_task(self._keep(places, fellow), name=f"fellow/{fellow.name}")

    async def _keep(self, places: Places, fellow: Fellow) -> None:
        """Begins one again whenever it ends. Cancelled, it ends it."""
        runs = self._runs(fellow.name)
        while True:
            runs.begin()
            try:
                code = await self._life(places, fellow)
                runs.end(code if code >= 0 else 128 - code, f"the node's process ended with code {code}; its log is {fellow.log}")
                log.error("a node ended; starting it again", extra={"node": fellow.name, "code": code, "log": str(fellow.log)})
            except (RuntimeFailure, CommandError, OSError) as error:
                runs.end(1, str(error))
                log.error("a node cannot be started; trying again", extra={"node": fellow.name, "error": str(error)})
            await asyncio.sleep(RESTART_SECONDS)

    async def _life(self, places: Places, fellow: Fellow) -> int:
        """Its exit code."""
        await places.prepare()
        container, pid = await places.ensure(fellow)
        await asyncio.to_thread(keep_credentials, self._settings.files, fellow)
        settings, folder = self._settings, str(self._settings.data_dir.absolute())
        ended = self._spawning.start(Start(fellow.number, self._address, container, pid, folder, settings.as_dict()))
        try:
            while not (await asyncio.wait([ended], timeout=RENEW_SECONDS))[0]:
                await asyncio.to_thread(keep_credentials, self._settings.files, fellow)
            return ended.result()
        except asyncio.CancelledError:
            await self._spawning.stop(fellow.number, ended)
            raise

    async def _switch_off(self, places: Places, fellow: Fellow) -> None:
        try:
            await places.kill(fellow)
        except RuntimeFailure as error:
            log.error("a node's containers could not be ended", extra={"node": fellow.name, "error": str(error)})

    async def _take_away(self, places: Places, fellow: Fellow) -> None:
        """All that one left on the machine."""
        try:
            await places.remove(fellow)
            with suppress(OSError):
                Hierarchy(CGROUPFS).remove(root_of(self._settings.files.cluster_id(), fellow.name)[:1])
            await asyncio.to_thread(unmount_all, fellow.folder)
            await asyncio.to_thread(shutil.rmtree, fellow.folder)
        except FileNotFoundError:
            return
        except (RuntimeFailure, OSError) as error:
            log.error("a node could not be taken away; `knarr down` does it", extra={"node": fellow.name, "error": str(error)})
