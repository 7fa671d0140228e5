"""The range of the pods' addresses: the one in the settings, or the one that the Node is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from knarr.api.core.v1 import core_pb2 as core

WAITING = "the node has no podCIDR yet; the controller gives it a part of the cluster's range"
MOVED = "the node's podCIDR is {given} now, and its pods have addresses of {used}; drain the node and restart its kubelet"


class PodRange:
    """Known from the start, or learned once: it stays until the end of the process, because the pods have addresses of it."""

    def __init__(self, configured: str, changed: Callable[[], None]) -> None:
        """``configured`` is a CIDR, or empty to wait for the Node's; ``changed`` hears of a new ``trouble``."""
        self._configured = configured
        self._changed = changed
        self._known = asyncio.Event()
        # Empty until it is known.
        self.cidr = configured
        # Why pods get no addresses; empty when all is well.
        self.trouble = "" if configured else WAITING

    def learn(self, node: core.Node) -> None:
        """Takes the range that the Node has been given."""
        given = node.spec.pod_cidr
        if self._configured or not given:
            return
        self.cidr = self.cidr or given
        trouble = "" if given == self.cidr else MOVED.format(given=given, used=self.cidr)
        if trouble != self.trouble:
            self.trouble = trouble
            self._changed()
        self._known.set()

    async def wait(self) -> str:
        """The range, once the Node has one."""
        await self._known.wait()
        return self.cidr
