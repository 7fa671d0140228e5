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
                return WebAnswer(_content(handle))
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


async def _content(handle: int) -> AsyncIterator[bytes]:
    try:
        while piece := await asyncio.to_thread(os.read, handle, READ_BYTES):
            yield piece
    finally:
        os.close(handle)
