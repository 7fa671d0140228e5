"""A cluster within a program that does something else too, such as a run of tests: in a thread, on an event loop of its own.

Its time of day and its timers go by one clock, which can be moved on: what waits for minutes happens at once, in its order. Whoever
connects to it has the machine's time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.service.errors import CommandError
from knarr.service.files import on_disk
from knarr.service.logs import TextFormatter
from services.standalone.etcd_process import EtcdProcess
from services.standalone.progress import Progress
from services.standalone.settings import MEMORY, ClusterSettings

if TYPE_CHECKING:
    from services.apiserver.rest.application import Application
    from services.apiserver.rest.server import Face
    from services.standalone.cluster import Cluster

T = TypeVar("T")

START_SECONDS, STOP_SECONDS = 60.0, 30.0
# A clock that is moved goes in steps, between which components do what has become due: a node that renews its lease every ten seconds
# does so in time.
STEP_SECONDS, SETTLE_SECONDS = 2.0, 0.004


class MovableLoop(asyncio.SelectorEventLoop):
    """A loop whose time can be moved on."""

    ahead_seconds = 0.0

    def time(self) -> float:
        return time.monotonic() + self.ahead_seconds


class MovableClock(Clock):
    """The time of day by a movable loop."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def now(self) -> datetime:
        return SYSTEM_CLOCK.now() + timedelta(seconds=self.ahead_seconds)

    def elapsed(self) -> float:
        return SYSTEM_CLOCK.elapsed() + self.ahead_seconds


@dataclass(frozen=True, slots=True)
class Took:
    """How long a start took, in seconds: to load what it needed, and from then on until the node was ready."""

    loading: float
    starting: float


class InProcess:
    """Started and stopped from another thread than its own. ``face`` puts something before the REST face."""

    def __init__(
        self, settings: ClusterSettings, *, face: Callable[[Application], Face] | None = None, without: frozenset[str] = frozenset()
    ) -> None:
        self._settings, self._faced, self._without = settings, face, without
        self._clock = MovableClock()
        self._loop = MovableLoop()
        self._over = threading.Event()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._ends = False
        self._cluster: Cluster | None = None
        self._log: logging.Handler | None = None
        self._thread = threading.Thread(target=self._run, name="knarr", daemon=True)

    @property
    def cluster(self) -> Cluster:
        """To be spoken to in its own thread: ``call``. Raises RuntimeError before the start."""
        if self._cluster is None:
            raise RuntimeError("the cluster was not started")
        return self._cluster

    def start(self) -> Took:
        """Returns when the node is ready; raises CommandError where it will not be."""
        # Read when gRPC is first imported; services/standalone/__main__.py says why.
        os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client")
        began = time.monotonic()
        from services.standalone.cluster import Cluster
        from services.standalone.every_start import LOADED  # noqa: F401

        loaded = time.monotonic()
        settings = self._settings
        settings.files.prepare()
        etcd = EtcdProcess(settings.files.etcd) if settings.store != MEMORY else None
        face = {"face": self._faced} if self._faced is not None else {}
        self._cluster = Cluster(settings, Progress(), etcd, clock=self._clock, without=self._without, on_ready=self._ready.set, **face)
        self._keep_log(settings.files.log)
        self._thread.start()
        try:
            ready = self._ready.wait(START_SECONDS)
        except BaseException:
            # Whoever waits was interrupted.
            self.stop()
            raise
        if not ready or self._over.is_set():
            self.stop()
            why = self._error or f"{START_SECONDS:.0f} s have passed"
            raise CommandError(f"the cluster did not become ready: {why}; its log is {settings.files.log}")
        return Took(loaded - began, time.monotonic() - loaded)

    def stop(self) -> None:
        """Returns when it has ended; may be called twice."""
        # The loop may be closed by now: the cluster has ended by itself.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)
        self._thread.join(STOP_SECONDS)
        self._leave_log()

    def _end(self) -> None:
        self._ends = True
        if self._task is not None:
            self._task.cancel()

    def call(self, work: Coroutine[Any, Any, T], timeout_seconds: float = START_SECONDS) -> T:
        """What the work comes to, done in the cluster's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_seconds)

    def advance(self, seconds: float) -> None:
        """Moves the cluster's time on; returns when that much has passed for it. Raises ValueError for less than nothing: time never
        goes back, neither here nor in etcd."""
        if seconds < 0:
            raise ValueError(f"{seconds} s: the cluster's time goes on only")
        self.call(self._advance(seconds), START_SECONDS + seconds)

    async def _advance(self, seconds: float) -> None:
        while seconds > 0:
            step = min(seconds, STEP_SECONDS)
            seconds -= step
            self._loop.ahead_seconds += step
            self._clock.ahead_seconds += step
            await asyncio.sleep(SETTLE_SECONDS)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._work())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._over.set()
            self._ready.set()

    async def _work(self) -> None:
        self._task = asyncio.current_task()
        on_disk.set(self._settings.store != MEMORY)
        # It may have been stopped before it began.
        if not self._ends:
            await self.cluster.run()

    def _keep_log(self, file: Path) -> None:
        """What components say goes into the cluster's log, and not to where the program's own words go."""
        handler = self._log = logging.FileHandler(file, delay=True)
        handler.setFormatter(TextFormatter())
        for logger in _loggers():
            logger.propagate = False
            logger.addHandler(handler)

    def _leave_log(self) -> None:
        """Another cluster of this program has a log of its own, and who has none hears the components himself."""
        if self._log is None:
            return
        for logger in _loggers():
            logger.removeHandler(self._log)
            logger.propagate = not logger.handlers
        self._log.close()


def _loggers() -> list[logging.Logger]:
    """In a wheel they are one."""
    return [logging.getLogger(name) for name in {"knarr", __name__.partition(".")[0]}]
