"""A child etcd for a one-machine cluster.

It listens on Unix sockets inside the data directory: no port is taken, and nobody who may not
read the directory can reach it. It is started again when it dies, and dies with this process.

It needs no event loop to begin: whoever starts a cluster lets it get ready while he still loads his modules.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

from knarr.service.errors import CommandError
from knarr.service.outliving import until_ended
from services.standalone.runs import Runs
from services.standalone.store import CLIENT_SOCKET, DATA, INSTALL_HINT, UNFINISHED, path_problem

log = logging.getLogger(__name__)

# Its name, and the address of its peers, which never meet: only a name that a single member must have.
NAME, PEER_URL = "knarr", "http://localhost:1"
# Where a new store of which nothing came is left.
ASIDE = f"{DATA}.unfinished"
PEER_SOCKET = "peer.sock:0"
READY_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 10.0
RESTART_SECONDS = 1.0
LOG_LIMIT_BYTES = 16 * 1024 * 1024
LOG_LOOK_SECONDS = 60.0
PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """For a child to call before it becomes another program: it ends when its parent does, or has.

    By what no process can put off: one that is stopped, as a paused cluster's etcd, would have a milder signal wait, and hold the store.
    etcd has on the disk what it has acknowledged.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # Who is interrupted while he still loads his modules ends at once.
        os._exit(1)
    os.setsid()


def shorten(path: Path) -> None:
    """Begins a log anew that is too long; what it held is gone, since it is read only when something has just gone wrong."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            os.truncate(path, 0)


class EtcdProcess:
    """One etcd server, kept alive while ``run`` runs.

    A first start that is cut off in the wrong moment leaves a log without members, on which etcd waits for a leader for ever. So a new
    store is marked until ``settle`` is called; what was marked when it is started again is set aside.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._launched = asyncio.Event()
        self._accepting = asyncio.Event()
        self.runs = Runs()

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def socket(self) -> Path:
        return self._folder / CLIENT_SOCKET

    @property
    def endpoint(self) -> str:
        """The gRPC target of its client API."""
        return f"unix:{self.socket}"

    @property
    def accepts(self) -> bool:
        """Whether it takes connections now."""
        return self._accepting.is_set()

    @property
    def pid(self) -> int:
        """0 while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def launch(self) -> None:
        """Starts etcd at once, for ``run`` to take over. Leaves it to ``run``, which says why, where something is in its way."""
        cut_off = (self._folder / UNFINISHED).exists()
        if not cut_off and not path_problem(self._folder) and shutil.which("etcd") is not None:
            with contextlib.suppress(OSError):
                self._set_unfinished_aside()
                self._process = self._started()

    async def run(self) -> None:
        """Starts etcd, starts it again whenever it dies, and stops it when cancelled."""
        if problem := path_problem(self._folder):
            raise CommandError(problem)
        if self._process is None:
            self._set_unfinished_aside()
        try:
            while True:
                process = self._process = self._process or self._started()
                self._launched.set()
                await self._probe(process)
                code = await self._ended(process)
                self._process = None
                self._accepting.clear()
                # As a container's end by a signal is told.
                self.runs.end(code if code >= 0 else 128 - code, f"etcd ended with code {code}; its log is {self._folder / 'etcd.log'}")
                log.error("etcd ended; starting it again", extra={"code": code, "log": str(self._folder / "etcd.log")})
                await asyncio.sleep(RESTART_SECONDS)
        finally:
            await self._stop()

    def settle(self) -> None:
        """The store has been of use: from now on it is never set aside."""
        (self._folder / UNFINISHED).unlink(missing_ok=True)

    def _set_unfinished_aside(self) -> None:
        data, mark, aside = (self._folder / name for name in (DATA, UNFINISHED, ASIDE))
        if mark.exists() and data.exists():
            shutil.rmtree(aside, ignore_errors=True)
            data.rename(aside)
            log.warning("the first start of this store was cut off before anybody was served; beginning anew", extra={"kept": str(aside)})
        if not data.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            mark.touch()

    async def _ended(self, process: subprocess.Popen[bytes]) -> int:
        """Its exit code, once it has one; meanwhile its log is kept short. It appends, so what is cut off leaves no hole."""
        while True:
            try:
                async with asyncio.timeout(LOG_LOOK_SECONDS):
                    return await _end_of(process)
            except TimeoutError:
                shorten(self._folder / "etcd.log")

    async def wait_launched(self) -> None:
        """Returns once there is a process, which needs a while until it accepts."""
        await self._launched.wait()

    async def wait_accepting(self) -> None:
        """Returns once etcd accepts connections; CommandError names its log."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                await self._accepting.wait()
        except TimeoutError:
            raise CommandError(f"etcd did not start within {READY_TIMEOUT_SECONDS:.0f} s; see {self._folder / 'etcd.log'}") from None

    def _started(self) -> subprocess.Popen[bytes]:
        program = shutil.which("etcd")
        if program is None:
            raise CommandError(INSTALL_HINT)
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in (CLIENT_SOCKET, PEER_SOCKET):
            (self._folder / name).unlink(missing_ok=True)
        log_path = self._folder / "etcd.log"
        shorten(log_path)
        self.runs.begin()
        with log_path.open("ab") as output:
            return subprocess.Popen(
                [program, *self._arguments()], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                preexec_fn=partial(die_with, os.getpid()),
            )  # fmt: skip

    def _arguments(self) -> list[str]:
        return [
            f"--name={NAME}", f"--data-dir={DATA}", f"--listen-client-urls=unix://{CLIENT_SOCKET}", "--advertise-client-urls=http://localhost:1",
            f"--listen-peer-urls=unix://{PEER_SOCKET}", f"--initial-advertise-peer-urls={PEER_URL}", f"--initial-cluster={NAME}={PEER_URL}",
            "--quota-backend-bytes=8589934592", "--logger=zap", "--log-level=warn", "--max-request-bytes=8388608",
            # A single member elects itself; the defaults would only make it wait a second for that.
            "--heartbeat-interval=10", "--election-timeout=100",
        ]  # fmt: skip

    async def _probe(self, process: subprocess.Popen[bytes]) -> None:
        """Waits until the socket accepts, or returns at once when etcd has died."""
        while process.poll() is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(str(self.socket))
                writer.close()
                self._accepting.set()
                return
            await asyncio.sleep(0.01)

    async def _stop(self) -> None:
        self._accepting.clear()
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await _end_of(process)
        except TimeoutError:
            log.error("etcd did not stop in time; killing it", extra={"pid": process.pid})
            process.kill()
            await _end_of(process)


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a child, once it has one."""
    if process.poll() is None:
        await until_ended(process.pid)
    return process.wait()
