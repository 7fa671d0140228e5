"""/logs/: the files below /var/log of the node, for who may read nodes/log. Nothing outside is reached by a link."""

from __future__ import annotations

import asyncio
import html
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from knarr.machinery.errors import status_error
from knarr.service.web.message import WebAnswer
from services.kubelet.node.beneath import open_beneath, opened

FOLDER = Path("/var/log")
READ_BYTES = 64 * 1024
# Names of one folder that are listed.
MOST_NAMES = 10_000


class NodeLogs:
    """``folder`` is what is shown."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    async def answer(self, path: str) -> WebAnswer:
        """``path`` is relative to the folder. Raises NotFound, Forbidden."""
        handle = await asyncio.to_thread(self._open, path)
        try:
            if not stat.S_ISDIR(os.fstat(handle).st_mode):
                return WebAnswer(_Content(handle))
            if path and not path.endswith("/"):
                os.close(handle)
                return WebAnswer(b"", 301, headers=(("Location", quote(path.rpartition("/")[2]) + "/"),))
            names = await asyncio.to_thread(_names, handle)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        lines = "".join(f'<a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
        return WebAnswer(f"<!doctype html>\n<pre>\n{lines}</pre>\n".encode(), content_type="text/html; charset=utf-8")

    def _open(self, path: str) -> int:
        """A handle of a file or folder."""
        try:
            with opened(self._folder) as folder:
                # A pipe that nobody writes to would be waited for.
                handle = open_beneath(folder, path.strip("/"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise status_error("NotFound", "404 page not found") from None
        except OSError as error:
            words = f"{self._folder}/{path}: {os.strerror(error.errno or 0).lower()}; links are not followed"
            raise status_error("Forbidden", words) from None
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            os.close(handle)
            raise status_error("Forbidden", f"{self._folder}/{path} is no file")
        return handle


def _names(handle: int) -> list[str]:
    found = []
    with os.scandir(handle) as entries:
        for entry in entries:
            found.append(f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name)
            if len(found) == MOST_NAMES:
                break
    return sorted(found)


class _Content:
    """What a file holds, in pieces. Ended before its first piece, as for a HEAD, it closes the file too, which a generator would not."""

    def __init__(self, handle: int) -> None:
        self._file = os.fdopen(handle, "rb", buffering=0)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await asyncio.to_thread(self._file.read, READ_BYTES)
        if not piece:
            await self.aclose()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._file.close()
