"""What runs in the engine's containers: commands beside it, whoever attaches to it, and what exec probes ask of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping

from knarr.service.tasks import cancel
from services.kubelet.runtime.docker.engine import Engine, EngineNotFound
from services.kubelet.runtime.docker.exec_processes import end_processes
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.streams import HijackedSession
from services.kubelet.runtime.port import ExecCheck, NoSuchContainer, ProbeResult, RuntimeFailure, Session

log = logging.getLogger(__name__)

MAX_PROBE_OUTPUT_BYTES = 10 * 1024
# How long the engine is asked for the process of a command that is to end, or for its end, and how far apart at first and at most.
PID_SECONDS, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 10.0, 0.02, 1.0
CLOSE_SECONDS = 2.0


def pauses() -> Iterator[float]:
    """How long to wait between two questions. Pure."""
    pause, waited = FIRST_PAUSE_SECONDS, 0.0
    while waited < PID_SECONDS:
        yield pause
        waited += pause
        pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)


class EngineProcesses:
    """Runs commands and attaches. A command ends when whoever waits for it is gone. ``observer.ttys`` tells whose output has no frames."""

    def __init__(self, engine: Engine, observer: EngineObserver) -> None:
        self._engine = engine
        self._observer = observer
        # Commands that nobody hears any more, while they are ended: whoever goes does so once, and perhaps twice.
        self._ending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Before the engine's connection is closed: what is under way has a moment."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=CLOSE_SECONDS)
        await cancel(self._ending)

    async def exec(self, container_id: str, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session:
        """As ``Runtime.exec``."""
        body = {"AttachStdin": stdin, "AttachStdout": True, "AttachStderr": not tty, "Tty": tty, "Cmd": list(command)}
        try:
            created = await self._engine.request("POST", f"containers/{container_id}/exec", body=body)
        except EngineNotFound as error:
            raise NoSuchContainer(str(error)) from error
        path = f"exec/{created['Id']}"

        async def exit_code() -> int:
            return await self._exit_code(path)

        async def abandon() -> None:
            await asyncio.shield(self._begin_end(path, container_id))

        try:
            reader, writer = await self._engine.hijack(f"{path}/start", {"Detach": False, "Tty": tty})
        except BaseException:
            # Also where the wait for the answer was given up: the command may run already, or will.
            self._begin_end(path, container_id)
            raise
        return HijackedSession(self._engine, reader, writer, tty, f"{path}/resize", exit_code, abandon)

    async def _exit_code(self, path: str) -> int:
        """Of a command whose output has ended: the engine hears of its end a moment later. Raises RuntimeFailure."""
        pause, unknown = FIRST_PAUSE_SECONDS, 0.0
        while True:
            inspected = await self._engine.request("GET", f"{path}/json")
            if inspected["ExitCode"] is not None:
                return int(inspected["ExitCode"])
            unknown += 0.0 if inspected.get("Running") else pause
            if unknown > PID_SECONDS:
                raise RuntimeFailure("the engine does not tell how the command ended")
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)

    def _begin_end(self, path: str, container_id: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._end(path, container_id), name="kubelet/exec/end")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _end(self, path: str, container_id: str) -> None:
        """Ends a command that still runs though nobody hears it any more."""
        failure: Exception | None = None
        # The engine learns a process' number a moment after the process begins, and its exit code when it has ended.
        for pause in pauses():
            try:
                if await self._ended(path, container_id):
                    return
            except (RuntimeFailure, OSError) as error:
                # It may be too busy to answer now.
                failure = error
            await asyncio.sleep(pause)
        if failure is not None:
            log.warning("a command was not ended", extra={"container": container_id, "error": str(failure)})
        else:
            # It never began, most likely: its caller left while the engine was asked to start it.
            log.info("the engine tells no process of a command that was given up", extra={"container": container_id})

    async def _ended(self, path: str, container_id: str) -> bool:
        """Whether it has ended, or was ended; False where the engine does not know its process yet. Raises RuntimeFailure, OSError."""
        try:
            inspected = await self._engine.request("GET", f"{path}/json")
        except EngineNotFound:
            # Gone with its container.
            return True
        if inspected["ExitCode"] is None and inspected["Pid"]:
            await asyncio.to_thread(end_processes, int(inspected["Pid"]), container_id)
            return True
        return inspected["ExitCode"] is not None

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Session:
        """As ``Runtime.attach``; whether there is a terminal is the container's."""
        params: Mapping[str, str | int] = {"stream": 1, "stdin": int(stdin), "stdout": 1, "stderr": 1}
        reader, writer = await self._engine.hijack(f"containers/{container_id}/attach", {}, params)

        async def exit_code() -> int:
            return 0

        async def abandon() -> None:
            """The main process goes on when nobody is attached."""

        is_tty = container_id in self._observer.ttys
        return HijackedSession(self._engine, reader, writer, is_tty, f"containers/{container_id}/resize", exit_code, abandon)

    async def check(self, container_id: str, check: ExecCheck, timeout_seconds: float) -> ProbeResult:
        """Runs the command; it succeeds with exit code 0 in time."""
        output = b""
        try:
            async with asyncio.timeout(timeout_seconds):
                session = await self.exec(container_id, check.command, stdin=False, tty=False)
                try:
                    while (piece := await session.read()) is not None:
                        output = (output + piece[1])[:MAX_PROBE_OUTPUT_BYTES]
                    code = await session.exit_code()
                finally:
                    await session.close()
        except TimeoutError:
            return ProbeResult(False, f'command "{" ".join(check.command)}" timed out')
        return ProbeResult(code == 0, output.decode(errors="replace"))
