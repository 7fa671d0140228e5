"""Tells files that were replaced from those that were not, by what the file system says of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path


class FileMarks:
    """Tells whether files have been replaced or written since it was last asked."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._marks = self._look()

    def changed(self) -> bool:
        before, self._marks = self._marks, self._look()
        return self._marks != before

    async def changes(self, seconds: float) -> AsyncIterator[None]:
        """Each time that they are others; looks so often, for ever."""
        while True:
            await asyncio.sleep(seconds)
            if self.changed():
                yield

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_mark(path) for path in self._paths]


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
