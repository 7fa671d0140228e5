"""How a write over several members of etcd knows whether it was carried out: by a mark that lies in the same transaction.

A mark is a small key of this process, used by one write at a time: the transaction demands the revision that the mark has, and puts a
new value under it. So the same transaction may be sent again: whichever of its attempts comes first moves the mark on, and shuts out
the others. What lies under the mark tells whose write did. A mark whose write ended without an answer is never used again.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from dataclasses import dataclass
from typing import Any

PREFIX = "knarr/marks/"
# Marks vanish by themselves that long after their last use at least, and are not used again well before that.
TTL_SECONDS, FRESH_SECONDS = 3600, 1800.0


@dataclass(slots=True)
class Mark:
    """``revision`` is that of its last change, 0 when it was never put; ``used`` the loop's time of its last use."""

    key: bytes
    revision: int = 0
    used: float = 0.0


class Marks:
    """As many as there are writes at the same time."""

    def __init__(self) -> None:
        self._prefix = f"{PREFIX}{uuid.uuid4().hex}/"
        self._free: list[Mark] = []
        self._numbers, self._values = itertools.count(), itertools.count()

    def take(self) -> Mark:
        fresh = asyncio.get_running_loop().time() - FRESH_SECONDS
        while self._free:
            mark = self._free.pop()
            if mark.used > fresh:
                return mark
        return Mark(f"{self._prefix}{next(self._numbers)}".encode())

    def give_back(self, mark: Mark, revision: int) -> None:
        """Nothing is under way any more that would change the mark, which is at ``revision``."""
        mark.revision, mark.used = revision, asyncio.get_running_loop().time()
        self._free.append(mark)

    def value(self) -> bytes:
        """One that was never put under any mark."""
        return str(next(self._values)).encode()


def found(answer: Any, mark: Mark) -> tuple[bytes, int]:
    """What a refused transaction found under the mark, and its revision: 0 when it is not there."""
    for response in answer.responses:
        for kv in response.response_range.kvs:
            if kv.key == mark.key:
                return kv.value, kv.mod_revision
    return b"", 0
