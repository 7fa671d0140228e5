"""Bytes both ways, whatever carries them."""

from __future__ import annotations

from typing import Protocol


class Pipe(Protocol):
    """The peer of an upgraded connection."""

    async def read(self) -> bytes:
        """The next bytes; empty when the peer sends no more."""
        ...

    async def write(self, data: bytes) -> None:
        """Waits while the peer does not read; raises OSError when it is gone."""
        ...

    def close(self) -> None:
        """Ends the connection once the peer has what was written. Bytes that come afterwards are nobody's."""
        ...
