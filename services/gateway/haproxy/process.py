"""The process of HAProxy: started with the first configuration, replaced by a new one, started again when it dies.

Each configuration has a folder and a process of its own. A new process takes the listening sockets over from the one before it, which then
takes no more connections, ends its requests and goes. One that cannot start changes nothing. As root it is started as a user of its own
that may do no more than listen on low ports; it dies with the process that started it. Its files then lie below /run, since it must be able
to come to its folder, and the cluster's own are closed to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from knarr.client.backoff import Backoff
from knarr.service.files import PRIVATE, write_whole
from knarr.service.processes import lives
from services.gateway.haproxy import mirrors
from services.gateway.haproxy.admin import Admin, AdminError, commanded
from services.gateway.haproxy.frontends import INNER
from services.gateway.haproxy.program import CONFIGURATION, Reload

log = logging.getLogger(__name__)

PROGRAM = "haproxy"
INSTALL_HINT = (
    "HAProxy is not installed on this machine: install the package haproxy (`scripts/install.sh` does),"
    " then Ingresses and Gateways are served"
)
START_SECONDS, STOP_SECONDS = 20.0, 3.0
POLL_SECONDS = 0.005
# How long until it is heard that a process died.
HEARD_SECONDS = 0.2
AGAIN = Backoff(first_seconds=0.05, limit_seconds=5.0)
# Nobody else's: files of keys are its alone.
USER = 61532
MESSAGE_CHARS = 600
LOG, MOST_LOG_BYTES = "haproxy.log", 1 << 20
RUN, PREFIX = Path("/run"), "knarr-gateway-"
COUNT = itertools.count()


class ProxyError(Exception):
    """In words for people: why a configuration is not in force."""


@dataclass(slots=True)
class Generation:
    """One configuration and the process that works by it."""

    folder: Path
    process: asyncio.subprocess.Process

    @property
    def socket(self) -> Path:
        return self.folder / socket_of(self.folder)


class Haproxy:
    """One at a time may call ``reload`` and ``command``; ``run`` beside them keeps it alive."""

    def __init__(self, folder: Path, on_restart: Callable[[], None] = lambda: None) -> None:
        """``folder`` is where its files lie, unless it runs as another user. ``on_restart`` is told that the process died and works by its
        last configuration again, without what was changed since."""
        if os.geteuid() == 0:
            folder = RUN / f"{PREFIX}{os.getpid()}-{next(COUNT)}"
        self._folder, self._on_restart = folder, on_restart
        # The folder, open and locked, once it is there.
        self._held: int | None = None
        self._current: Generation | None = None
        self._number = 0
        self._ending: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        # Whoever starts a process: while one takes over, the other ends, which is no accident.
        self._starting = asyncio.Lock()
        # Whether it died and could not be started again.
        self._down = False
        self.restarts = 0

    @property
    def pid(self) -> int:
        """0 while it does not run."""
        found = self._current
        return found.process.pid if found is not None and found.process.returncode is None else 0

    @property
    def works(self) -> bool:
        """Whether it runs, or has just died and is about to run again."""
        return self._current is not None and not self._down

    @property
    def pids(self) -> list[int]:
        """Of those that only end their requests, too."""
        return [int(task.get_name()) for task in self._ending] + ([self.pid] if self.pid else [])

    async def reload(self, change: Reload) -> None:
        """Works by new files. ProxyError says why it does not; then what was in force stays so."""
        async with self._starting:
            folder = self._written(change.files)
            try:
                process = await self._succeeding(folder, self._current)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            before, self._current, self._down = self._current, Generation(folder, process), False
            self._changed.set()
        if before is not None:
            self._let_end(before)
            await self._listens_no_more(before)

    async def command(self, commands: Iterable[str]) -> None:
        """Changes it while it runs. ProxyError: it may have taken a part of them."""
        if self._current is None:
            raise ProxyError("HAProxy does not run")
        try:
            await commanded(self._current.socket, commands)
        except AdminError as error:
            raise ProxyError(f"HAProxy {error}") from error

    def trim(self) -> None:
        """What it says of requests that it ended is of use to nobody, and may be much."""
        current = self._current
        with contextlib.suppress(OSError):
            if current is not None and (said := current.folder / LOG).stat().st_size > MOST_LOG_BYTES:
                os.truncate(said, 0)

    async def end(self) -> None:
        """Takes no more connections and ends its requests; the next ``reload`` starts it anew."""
        async with self._starting:
            current, self._current = self._current, None
            if current is not None and current.process.returncode is None:
                current.process.send_signal(signal.SIGUSR1)
                self._let_end(current)

    async def run(self) -> None:
        """Starts it again whenever it dies, until cancelled; then ends it."""
        failures = 0
        try:
            while True:
                current = self._current
                if current is None:
                    await self._changed.wait()
                    self._changed.clear()
                    continue
                await current.process.wait()
                async with self._starting:
                    if self._current is current:
                        failures = await self._again(current, failures)
        finally:
            await self._stop()

    async def _again(self, dead: Generation, failures: int) -> int:
        log.error("HAProxy ended; starting it again", extra={"code": dead.process.returncode})
        try:
            process = await self._started(dead.folder, None)
        except ProxyError as error:
            log.error("HAProxy cannot be started again", extra={"error": str(error)})
            self._down = True
            await asyncio.sleep(AGAIN.delay(failures + 1))
            return failures + 1
        self._current, self._down = Generation(dead.folder, process), False
        self.restarts += 1
        self._on_restart()
        return 0

    def _written(self, files: Mapping[str, str]) -> Path:
        """A new folder with the files, which only the process's user may read."""
        self._number += 1
        if not self._folder.exists():
            remove_forgotten()
            self._folder.mkdir(parents=True)
            self._folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            self._hold()
        folder = self._folder / f"run-{self._number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        for name, text in files.items():
            write_whole(folder / name, text.encode(), mode=PRIVATE)
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                os.chown(path, USER, USER)
        return folder

    async def _succeeding(self, folder: Path, before: Generation | None) -> asyncio.subprocess.Process:
        """Started in the place of another, which may die meanwhile: then there is nothing to take over, and no reason to wait."""
        try:
            return await self._started(folder, before)
        except ProxyError:
            if before is None or not await _ended(before.process):
                raise
            return await self._started(folder, None)

    async def _started(self, folder: Path, before: Generation | None) -> asyncio.subprocess.Process:
        program = found_program()
        if program is None:
            raise ProxyError(INSTALL_HINT)
        words = [program, "-db", "-f", CONFIGURATION]
        if before is not None and before.process.returncode is None:
            # Its own name for the other's socket: the folder above may be closed to it.
            with contextlib.suppress(FileNotFoundError):
                (folder / "before.sock").unlink()
            os.link(before.socket, folder / "before.sock")
            words += ["-x", "before.sock", "-sf", str(before.process.pid)]
        output = folder / LOG
        with output.open("ab") as written:
            process = await asyncio.create_subprocess_exec(
                *_confined(words),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                env={
                    **os.environ,
                    "KNARR_ADMIN": socket_of(folder),
                    INNER: f"{folder.name}.inner",
                    mirrors.SOCKET: f"{folder.name}.mirror",
                    mirrors.MOST: str(mirrors.MOST_BYTES),
                },
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._answers(folder, process)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise ProxyError(f"HAProxy did not answer within {START_SECONDS:.0f} s; its last words: {_words(output)}") from error
            raise
        return process

    async def _answers(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        while process.returncode is None:
            with contextlib.suppress(AdminError):
                admin = await Admin.open(folder / socket_of(folder))
                try:
                    if await admin.process() == process.pid:
                        return
                finally:
                    admin.close()
            await asyncio.sleep(POLL_SECONDS)
        raise ProxyError(f"HAProxy does not start: {_words(folder / LOG)}")

    async def _listens_no_more(self, before: Generation) -> None:
        """Until then it may take a connection, and answer as it was told."""
        with contextlib.suppress(AdminError, TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                while before.process.returncode is None:
                    admin = await Admin.open(before.socket)
                    try:
                        if await admin.stopping():
                            return
                    finally:
                        admin.close()
                    await asyncio.sleep(POLL_SECONDS)

    def _let_end(self, before: Generation) -> None:
        """It was told to end by the new one; that takes as long as its longest request."""

        async def end() -> None:
            await before.process.wait()
            shutil.rmtree(before.folder, ignore_errors=True)

        task = asyncio.create_task(end(), name=str(before.process.pid))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _stop(self) -> None:
        current, self._current = self._current, None
        pids = [int(task.get_name()) for task in self._ending]
        if current is not None and current.process.returncode is None:
            pids.append(current.process.pid)
            self._let_end(current)
        for kind in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, kind)
            if not self._ending:
                break
            _, late = await asyncio.wait(self._ending, timeout=STOP_SECONDS)
            pids = [int(task.get_name()) for task in late]
            if not late:
                break
        if self._number:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._let_go()

    def _hold(self) -> None:
        """Shows that somebody needs the folder, for as long as this process lives."""
        self._let_go()
        self._held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None


def found_program() -> str | None:
    return shutil.which(PROGRAM, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def has_lua() -> bool:
    """Whether it was built with that, as the distribution's is. Of one that is not there, it is said that it is not there."""
    program = found_program()
    if program is None:
        return True
    said = subprocess.run([program, "-vv"], capture_output=True, text=True, check=False)
    return "+LUA" in said.stdout.split() or "Built with Lua" in said.stdout


def socket_of(folder: Path) -> str:
    """The name of the socket for commands: each process has another, since it takes over those that it knows by their names."""
    return f"{folder.name}.sock"


def forgotten() -> list[Path]:
    """Folders with configurations and keys that processes have left below /run that could not clean up. One that is held is not left, also
    where its process is not to be seen from here."""
    numbered = ((found, found.name.removeprefix(PREFIX).partition("-")[0]) for found in RUN.glob(f"{PREFIX}*-*"))
    return [found for found, pid in numbered if pid.isdigit() and not lives(pid) and not _is_held(found)]


def _is_held(folder: Path) -> bool:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def remove_forgotten() -> None:
    for found in forgotten():
        shutil.rmtree(found, ignore_errors=True)


def most_connections(wanted: int) -> int:
    """How many there may be where each takes two descriptors of those that the machine allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else max(100, min(wanted, (hard - 500) // 2))


async def _ended(process: asyncio.subprocess.Process) -> bool:
    """Whether it is dead; one that just died is heard of in a moment."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEARD_SECONDS):
            await process.wait()
    return process.returncode is not None


def _confined(words: list[str]) -> list[str]:
    """The same by a user who may do nothing else, where we may do everything. It ends with us."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return words
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig", "KILL", "--", *words]
    only = "-all,+net_bind_service"
    return [
        setpriv, f"--reuid={USER}", f"--regid={USER}", "--clear-groups", f"--inh-caps={only}", f"--ambient-caps={only}",
        "--bounding-set", only, "--no-new-privs", "--pdeathsig", "KILL", "--", *words,
    ]  # fmt: skip


def _words(output: Path) -> str:
    """What it said last of what is wrong."""
    with contextlib.suppress(OSError):
        lines = output.read_text(errors="replace").splitlines()
        wrong = [line.partition("] ")[2].strip() or line for line in lines if "[ALERT]" in line] or lines
        return " ".join(wrong)[-MESSAGE_CHARS:] or "nothing"
    return "nothing"
