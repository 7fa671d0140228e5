"""All files of one log as one stream of entries, whatever rotation does meanwhile."""

from __future__ import annotations

import logging
import threading
from collections import deque

from services.kubelet.runtime.logs.entries import Entry, TailSearch
from services.kubelet.runtime.logs.files import LogFiles, OpenLog, open_log

log = logging.getLogger(__name__)

# How much of the disk files may take that have no name any more, for a reader that is behind: more is let go, the oldest first.
HELD_BYTES = 256 << 20


class LogReader:
    """Its methods block, and may be called from several threads.

    Every file that was seen is open until it is read: what the engine renames or removes is read to its end. Files are told apart by
    their numbers, which nobody else has as long as they are open. The last file is left only after it was seen that there is a next one,
    and then once more that nothing came.
    """

    def __init__(self, files: LogFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._closed = False
        # Whether it was told already that something is not read.
        self._misses = False
        # In the order in which they were written; the first is the one that is read.
        self._open: deque[OpenLog] = deque()
        # Whether what is written from now on is read, too.
        self._follows = True

    def begin(self, tail_lines: int | None, *, follow: bool = True) -> None:
        """Once, before the first read: with the last lines, or where the log begins. Not to ``follow`` it ends where the log does now:
        whoever writes faster than is read would keep it from its end. Raises OSError."""
        with self._lock:
            self._look()
            self._follows = follow
            if not follow and self._open:
                self._open[-1].stop_here()
            if tail_lines is not None:
                self._skip_to_tail(TailSearch(tail_lines))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            while self._open:
                self._open.popleft().close()

    def read(self) -> list[Entry] | None:
        """The next entries; None where there is nothing more for now. Raises OSError."""
        with self._lock:
            while not self._closed:
                has_next = len(self._open) > 1
                if self._open and (entries := self._open[0].read()) is not None:
                    return entries
                if has_next:
                    self._open.popleft().close()
                elif not self._follows or not self._look():
                    return None
            return None

    def hold(self, most_bytes: int = HELD_BYTES) -> None:
        """Looks for files that came since, so that they are there when they are read; lets go what takes too much. Raises OSError."""
        with self._lock:
            if not self._closed:
                self._look()
                self._let_go(most_bytes)

    def _look(self) -> bool:
        """Opens what came behind the newest file that is open; False where that is nothing."""
        newest = self._open[-1].inode if self._open else None
        found: dict[int, OpenLog] = {}
        try:
            for path in self._files.newest_first():
                opened = open_log(path, self._files)
                if opened is None:
                    continue
                if opened.inode == newest:
                    opened.close()
                    break
                # One that is seen again was rotated meanwhile, and what was seen between is newer.
                if (before := found.pop(opened.inode, None)) is not None:
                    before.close()
                found[opened.inode] = opened
            else:
                if newest is not None and found:
                    self._miss("it was rotated faster than it is looked at")
        except BaseException:
            for opened in found.values():
                opened.close()
            raise
        self._open.extend(reversed(found.values()))
        return bool(found)

    def _skip_to_tail(self, search: TailSearch) -> None:
        for place in range(len(self._open) - 1, -1, -1):
            if self._open[place].find_tail(search):
                for _ in range(place):
                    self._open.popleft().close()
                return

    def _let_go(self, most_bytes: int) -> None:
        # The one that is read goes on to its end.
        removed = {opened: size for opened in list(self._open)[1:] if (size := opened.removed_bytes)}
        held = sum(removed.values())
        for opened, size in removed.items():
            if held <= most_bytes:
                return
            self._open.remove(opened)
            opened.close()
            held -= size
            self._miss("it is written faster than it is read")

    def _miss(self, why: str) -> None:
        if not self._misses:
            path = next(self._files.newest_first())
            log.warning("lines of a log are missing for whoever follows it: %s", why, extra={"file": str(path)})
        self._misses = True
