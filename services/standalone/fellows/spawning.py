"""The process that begins fellows, as the cluster's process knows it: orders to it, and what it tells of their ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial

from services.standalone.etcd_process import die_with
from services.standalone.fellows.order import MOST_BYTES, Ended, Start, Stop, read, written
from services.standalone.process import ROOT, environment

# What begins them, by its name here.
PACKAGE = __name__.rpartition(".")[0]
STOP_SECONDS = 10.0


class Spawning:
    """Launched with the first order, if not before, and again where it was killed."""

    def __init__(self) -> None:
        # By number, what is awaited of it.
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Has it load what nodes need."""
        if self._process is None:
            self._launch()

    def start(self, order: Start) -> asyncio.Future[int]:
        """Begins a fellow; its exit code, or the signal that ended it as a negative number. Raises OSError."""
        self._say(order)
        ended = self._ends[order.number] = asyncio.get_running_loop().create_future()
        return ended

    async def stop(self, number: int, ended: asyncio.Future[int]) -> None:
        """Ends one, and waits for that; a while."""
        if self._channel is not None and not ended.done():
            with suppress(OSError):
                self._say(Stop(number))
            await asyncio.wait([ended], timeout=STOP_SECONDS)

    async def end(self) -> None:
        """With all whom it has begun."""
        self._close()
        if (process := self._process) is not None:
            try:
                await asyncio.to_thread(process.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)

    def _say(self, message: Start | Stop) -> None:
        if self._channel is None:
            self._launch()
        assert self._channel is not None
        self._channel.send(written(message))

    def _launch(self) -> None:
        if self._process is not None:
            # It was killed.
            self._process.wait()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
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
        """It has ended, and all fellows with it."""
        self._close()
        for number in list(self._ends):
            self._settle(number, -signal.SIGKILL)

    def _close(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None
