"""The candidates of a run as processes, and what befalls them: they are stopped, continued, killed, and started again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.history.candidate import SETTINGS
from tests.history.records import History

ROOT = Path(__file__).parents[2]
PAUSE_SECONDS = (0.5, 3.0)


class Leaders:
    """A candidate for each face of an API server: its address, and the folder of its certificate.

    One that is started again has another identity, as another process has.
    """

    def __init__(self, faces: Sequence[tuple[str, Path]], history: History, source: random.Random) -> None:
        self._faces, self._history, self._source = faces, history, source
        self._processes: list[asyncio.subprocess.Process] = []
        self._identities: list[str] = []
        self._started = 0
        self._trouble: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._identities = [""] * len(self._faces)
        for number in range(len(self._faces)):
            self._processes.append(await self._candidate(number))
        self._trouble = asyncio.create_task(self._make_trouble())

    async def leave_alone(self) -> None:
        """From now on nothing befalls them."""
        if self._trouble is not None:
            self._trouble.cancel()
            await asyncio.wait({self._trouble})

    async def stop(self) -> None:
        await self.leave_alone()
        while self._processes:
            await _end(self._processes.pop())

    async def _candidate(self, number: int) -> asyncio.subprocess.Process:
        self._started += 1
        address, folder = self._faces[number]
        identity = self._identities[number] = f"candidate-{self._started}"
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.history.candidate", address, str(folder), identity),
            stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    async def _make_trouble(self) -> None:
        """One after the other, many of them for longer than a lease lasts."""
        while True:
            await asyncio.sleep(self._source.uniform(*PAUSE_SECONDS))
            number, seconds = self._whom(), self._source.uniform(0, 2 * SETTINGS.duration_seconds)
            if self._source.random() < 0.8:
                await self._stop_for(number, seconds)
            else:
                await self._kill(number)

    def _whom(self) -> int:
        """Mostly the one that leads."""
        chosen, leads = self._source.randrange(len(self._processes)), self._history.epochs[-1].leads
        if self._source.random() < 0.8 and leads and (leads[-1].holder or leads[-1].writer) in self._identities:
            return self._identities.index(leads[-1].holder or leads[-1].writer or "")
        return chosen

    async def _stop_for(self, number: int, seconds: float) -> None:
        self._tell(f"stop a candidate for {seconds:.1f} s")
        process = self._processes[number]
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            process.send_signal(signal.SIGCONT)

    async def _kill(self, number: int) -> None:
        self._tell("kill a candidate")
        await _end(self._processes[number])
        self._processes[number] = await self._candidate(number)

    def _tell(self, text: str) -> None:
        self._history.faults.append(f"[{asyncio.get_running_loop().time():.3f}] {text}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
