"""The end of a connection: what was written to it has a while to leave."""

from __future__ import annotations

import asyncio

# How long the other side has to take what was written last.
LINGER_SECONDS = 2.0


async def close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection, and comes back in time whatever becomes of it: one whose other side does not read would never be closed by
    itself, and whoever waited for that would stay, with all that was not taken."""
    writer.close()
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            await writer.wait_closed()
    except OSError as error:
        # A connection remembers what it ended by, and that the frames it went through, this one among them, which has the connection: what
        # it takes would stay until somebody looks for cycles, 60 KB where it had TLS.
        error.__traceback__ = None
    finally:
        writer.transport.abort()
