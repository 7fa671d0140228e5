"""What runs in the engine's containers: commands beside it, whoever attaches to it, and what exec probes ask of it."""

from __future__ import annotations

import asyncio
import math

from knarr.api.cri.v1 import stream_pb2 as pb
from services.kubelet.runtime.cri.engine import Engine, EngineError, EngineNotFound
from services.kubelet.runtime.cri.streams import connect
from services.kubelet.runtime.port import ExecCheck, NoSuchContainer, ProbeResult, Session

MAX_PROBE_OUTPUT_BYTES = 10 * 1024


class EngineProcesses:
    """Runs commands and attaches. A probe's command ends with its time; another one runs on when its caller goes: no call ends it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def exec(self, container_id: str, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session:
        """As ``Runtime.exec``."""
        request = pb.ExecRequest(container_id=container_id, cmd=command, tty=tty, stdin=stdin, stdout=True, stderr=not tty)
        try:
            told = await self._engine.runtime("Exec", request)
        except EngineNotFound as error:
            raise NoSuchContainer(str(error)) from error
        return await connect(told.url, stdin=stdin, tty=tty)

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Session:
        """As ``Runtime.attach``."""
        request = pb.AttachRequest(container_id=container_id, stdin=stdin, tty=tty, stdout=True, stderr=not tty)
        try:
            told = await self._engine.runtime("Attach", request)
        except EngineNotFound as error:
            raise NoSuchContainer(str(error)) from error
        return await connect(told.url, stdin=stdin, tty=tty)

    async def check(self, container_id: str, check: ExecCheck, timeout_seconds: float) -> ProbeResult:
        """Runs the command; it succeeds with exit code 0 in time."""
        request = pb.ExecSyncRequest(container_id=container_id, cmd=check.command, timeout=math.ceil(timeout_seconds) + 1)
        try:
            # The engine kills the command when the call is given up.
            async with asyncio.timeout(timeout_seconds):
                told = await self._engine.runtime("ExecSync", request)
        except TimeoutError:
            return ProbeResult(False, f'command "{" ".join(check.command)}" timed out')
        except EngineNotFound as error:
            raise NoSuchContainer(str(error)) from error
        except EngineError as error:
            return ProbeResult(False, str(error))
        output = (told.stdout + told.stderr)[:MAX_PROBE_OUTPUT_BYTES]
        return ProbeResult(told.exit_code == 0, output.decode(errors="replace"))
