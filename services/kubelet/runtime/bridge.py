"""Looks after the interface of the node's network: the engine does not notice when somebody removes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.kubelet.runtime.port import RuntimeFailure

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
# A folder for each interface in the network namespace of whoever looks: /sys shows those of the one in which it was mounted.
INTERFACES = Path("/proc/sys/net/ipv4/conf")


class BridgeKeeper:
    """Calls ``renew`` when the bridge is gone. A bridge that was never seen here is that of an engine elsewhere."""

    def __init__(self, bridge: str, renew: Callable[[], Awaitable[None]], *, interfaces: Path = INTERFACES) -> None:
        self._path = interfaces / bridge
        self._renew = renew
        self._seen = False

    async def run(self) -> None:
        """Until cancelled; a failure is tried again."""
        while True:
            await self.look()
            await asyncio.sleep(CHECK_SECONDS)

    async def look(self) -> None:
        """Checks once."""
        if self._path.exists():
            self._seen = True
        elif self._seen:
            log.warning("the bridge of the pods' network is gone; making the network anew", extra={"bridge": self._path.name})
            try:
                await self._renew()
                # Some engines make it with the next pod.
                self._seen = self._path.exists()
            except RuntimeFailure as error:
                log.warning("the pods' network could not be made anew", extra={"error": str(error)})
