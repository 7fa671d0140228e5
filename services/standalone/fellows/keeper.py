"""Has the fellows that there are to be, and takes away those that are to be no more. A part of the cluster's process."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from knarr.service.errors import CommandError
from knarr.service.tasks import cancel
from services.kubelet.cgroups.hierarchy import Hierarchy
from services.kubelet.cgroups.names import CGROUPFS, root_of
from services.kubelet.node.mounts import unmount_all
from services.kubelet.runtime.port import RuntimeFailure
from services.standalone.etcd_process import die_with
from services.standalone.fellows.credentials import keep_credentials
from services.standalone.fellows.order import MOST_BYTES, Ended, Start, Stop, read, written
from services.standalone.fellows.places import Places
from services.standalone.fellows.plan import Fellow, fellows, running_fellows
from services.standalone.process import ROOT, environment
from services.standalone.runs import Runs
from services.standalone.settings import ClusterSettings

log = logging.getLogger(__name__)

# What begins them, by its name here.
PACKAGE = __name__.rpartition(".")[0]
RESTART_SECONDS = 1.0
# How often certificates are looked at, which are made anew 30 days before they expire.
RENEW_SECONDS = 6 * 3600.0
STOP_SECONDS = 10.0


class Fellows:
    """Those of one cluster, whose own node has the ``address``. ``run`` it; ``settings`` has the ports that were found."""

    def __init__(self, settings: ClusterSettings, address: str, runs: Callable[[str], Runs]) -> None:
        self._settings, self._address, self._runs = settings, address, runs
        self._chosen = asyncio.Event()
        self._chosen.set()
        self._tasks: dict[Fellow, asyncio.Task[None]] = {}
        # Of which something may be left.
        self._gone: set[Fellow] = set()
        # By number, what is awaited of the process that begins them.
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._channel: socket.socket | None = None
        self._spawner: subprocess.Popen[bytes] | None = None

    def become(self, settings: ClusterSettings) -> None:
        """From now on those that these settings say."""
        self._gone |= set(fellows(self._settings))
        self._settings = settings
        self._gone -= set(fellows(settings))
        self._chosen.set()

    def prepare(self) -> None:
        """Begins to load what nodes need, where there are to be any."""
        if self._spawner is None and running_fellows(self._settings):
            self._launch()

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
            await self._end()
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
        self._say(Start(fellow.number, self._address, container, pid, folder, settings.as_dict()))
        ended = self._ends[fellow.number] = asyncio.get_running_loop().create_future()
        try:
            while not (await asyncio.wait([ended], timeout=RENEW_SECONDS))[0]:
                await asyncio.to_thread(keep_credentials, self._settings.files, fellow)
            code: int = ended.result()
            return code
        except asyncio.CancelledError:
            if self._channel is not None and not ended.done():
                with suppress(OSError):
                    self._say(Stop(fellow.number))
                await asyncio.wait([ended], timeout=STOP_SECONDS)
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

    def _say(self, message: Start | Stop) -> None:
        if self._channel is None:
            self._launch()
        assert self._channel is not None
        self._channel.send(written(message))

    def _launch(self) -> None:
        """Begins the process that begins them."""
        if self._spawner is not None:
            # It was killed.
            self._spawner.wait()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._spawner = subprocess.Popen(
                [sys.executable, "-P", "-m", PACKAGE, f"--channel={theirs.fileno()}"],
                cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),),
                preexec_fn=partial(die_with, os.getpid()),
            )  # fmt: skip
        ours.setblocking(False)
        self._channel = ours
        asyncio.get_running_loop().add_reader(ours, self._hear)

    def _hear(self) -> None:
        assert self._channel is not None
        data = self._channel.recv(MOST_BYTES)
        if not data:
            self._lose()
            return
        message = read(data)
        if isinstance(message, Ended):
            self._settle(message.number, message.code)

    def _settle(self, number: int, code: int) -> None:
        if (ended := self._ends.pop(number, None)) is not None and not ended.done():
            ended.set_result(code)

    def _lose(self) -> None:
        """The process that begins fellows has ended, and all of them with it."""
        self._close()
        for number in list(self._ends):
            self._settle(number, -9)

    def _close(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None

    async def _end(self) -> None:
        self._close()
        if (spawner := self._spawner) is not None:
            try:
                await asyncio.to_thread(spawner.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                spawner.kill()
                await asyncio.to_thread(spawner.wait)
