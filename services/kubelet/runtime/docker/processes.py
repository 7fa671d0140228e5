"""What runs in the engine's containers: its output, commands beside it, and what exec probes ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from services.kubelet.runtime.docker.engine import Engine, EngineNotFound
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.streams import HijackedSession, demultiplexed
from services.kubelet.runtime.port import ExecCheck, LogOptions, NoSuchContainer, ProbeResult, Session

MAX_PROBE_OUTPUT_BYTES = 10 * 1024


class EngineProcesses:
    """Streams output, runs commands and attaches. ``observer.ttys`` tells whose output is one raw stream instead of frames."""

    def __init__(self, engine: Engine, observer: EngineObserver) -> None:
        self._engine = engine
        self._observer = observer

    async def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """As ``Runtime.logs``."""
        try:
            async with self._engine.stream("GET", f"containers/{container_id}/logs", params=_log_params(options)) as chunks:
                source = chunks if container_id in self._observer.ttys else demultiplexed(chunks)
                async with aclosing(source) as stream:  # type: ignore[type-var]
                    async for data in stream:
                        yield data
        except EngineNotFound as error:
            raise NoSuchContainer(str(error)) from error

    async def exec(self, container_id: str, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session:
        """As ``Runtime.exec``."""
        body = {"AttachStdin": stdin, "AttachStdout": True, "AttachStderr": not tty, "Tty": tty, "Cmd": list(command)}
        try:
            created = await self._engine.request("POST", f"containers/{container_id}/exec", body=body)
        except EngineNotFound as error:
            raise NoSuchContainer(str(error)) from error
        path = f"exec/{created['Id']}"
        reader, writer = await self._engine.hijack(f"{path}/start", {"Detach": False, "Tty": tty})

        async def exit_code() -> int:
            return int((await self._engine.request("GET", f"{path}/json"))["ExitCode"] or 0)

        return HijackedSession(self._engine, reader, writer, tty, f"{path}/resize", exit_code)

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Session:
        """As ``Runtime.attach``; whether there is a terminal is the container's."""
        params: Mapping[str, str | int] = {"stream": 1, "stdin": int(stdin), "stdout": 1, "stderr": 1}
        reader, writer = await self._engine.hijack(f"containers/{container_id}/attach", {}, params)

        async def exit_code() -> int:
            return 0

        is_tty = container_id in self._observer.ttys
        return HijackedSession(self._engine, reader, writer, is_tty, f"containers/{container_id}/resize", exit_code)

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


def _log_params(options: LogOptions) -> dict[str, str | int]:
    params: dict[str, str | int] = {"stdout": 1, "stderr": 1, "follow": int(options.follow), "timestamps": int(options.timestamps)}
    params["tail"] = "all" if options.tail_lines is None else options.tail_lines
    if options.since is not None:
        params["since"] = f"{options.since.timestamp():.9f}"
    return params
