"""HAProxy's socket for commands while it runs."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable
from pathlib import Path

END = b"\n> "
ANSWER_SECONDS = 10.0
MOST_BYTES = 1 << 24
# Of syslog's severities, those of errors.
ERROR = re.compile(rb"^\[[0-3]\]:", re.MULTILINE)
PID = re.compile(rb"^Pid: (\d+)$", re.MULTILINE)


class AdminError(Exception):
    """The process refuses a command, or does not answer."""


class Admin:
    """One connection. Commands are answered one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, path: Path) -> Admin:
        """To the process that has its socket there, however long the name is. AdminError where there is none."""
        try:
            descriptor = os.open(path.parent, os.O_PATH)
        except OSError as error:
            raise AdminError(f"is gone: {error}") from error
        try:
            reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{descriptor}/{path.name}", limit=MOST_BYTES)
        except OSError as error:
            raise AdminError(f"cannot be reached: {error}") from error
        finally:
            os.close(descriptor)
        own = cls(reader, writer)
        try:
            await own.command("prompt")
            await own.command("set severity-output number")
        except BaseException:
            own.close()
            raise
        return own

    async def command(self, text: str) -> bytes:
        """The answer; AdminError with its words where it is an error."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._writer.write(text.encode() + b"\n")
                await self._writer.drain()
                answer = await self._reader.readuntil(END)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
            raise AdminError(f"did not answer {_named(text)}: {error!r}") from error
        if ERROR.search(answer):
            raise AdminError(f"{_named(text)}: {answer.removesuffix(END).decode(errors='replace').strip()}")
        return answer

    async def process(self) -> int:
        """The number of the process that answers."""
        found = PID.search(await self.command("show info"))
        if found is None:
            raise AdminError("does not say which process it is")
        return int(found[1])

    async def stopping(self) -> bool:
        """Whether it takes no more connections."""
        return b"\nStopping: 1" in await self.command("show info")

    def close(self) -> None:
        self._writer.close()


async def commanded(path: Path, commands: Iterable[str]) -> None:
    """Gives all commands; AdminError at the first that is refused."""
    admin = await Admin.open(path)
    try:
        for each in commands:
            await admin.command(each)
    finally:
        admin.close()


def _named(command: str) -> str:
    """Its first line, without what belongs to nobody's log."""
    return command.partition("\n")[0][:120]
