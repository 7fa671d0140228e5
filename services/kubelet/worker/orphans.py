"""What pods left on the node that ended while no kubelet ran: neither the API nor the engine knows them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from knarr.client.backoff import Backoff
from services.kubelet.csi.client import DriverError
from services.kubelet.pod.context import NodeContext
from services.kubelet.pod.directory import PodDirectory, left_behind
from services.kubelet.runtime.port import RuntimeFailure

log = logging.getLogger(__name__)

RETRY = Backoff(first_seconds=1.0, limit_seconds=300.0)


class Orphans:
    """Of one node. ``is_here`` answers whether a pod, by its uid, is here now: its worker sees to what it has."""

    def __init__(self, context: NodeContext, is_here: Callable[[str], bool]) -> None:
        self._context, self._is_here = context, is_here

    async def remove(self) -> None:
        """Removes their directories, mounts included, their groups, and the images that no pod has as volumes. What stays is tried
        again."""
        left: Collection[str] | None = None
        failures = 0
        while True:
            try:
                left = await self._left_behind() if left is None else left
                left = [uid for uid in left if not await self._is_removed(uid)]
                await self._context.image_folders.sweep()
                if not left:
                    return
            except (RuntimeFailure, OSError) as error:
                log.warning("what pods left behind was not removed", extra={"error": str(error)})
            failures += 1
            await self._context.drivers.wait_change(RETRY.delay(failures))

    async def _is_removed(self, uid: str) -> bool:
        """Or is a pod's that is here. False for one that a driver has yet to take its volume from, or that disk or kernel do not let go."""
        if self._is_here(uid):
            return True
        try:
            await self._context.drivers.tear_down(uid)
            await self._context.devices.tear_down(uid)
            await self._context.files.call(PodDirectory(self._context.settings.data_dir, uid).remove)
            await self._context.groups.remove(uid)
        except OSError as error:
            log.warning("what a pod left behind was not removed", extra={"uid": uid, "error": str(error)})
            return False
        except DriverError as error:
            log.warning("a driver does not take back what it gave", extra={"uid": uid, "error": str(error)})
            return False
        return True

    async def _left_behind(self) -> Collection[str]:
        """The uids of the pods that have something here. Raises OSError."""
        folders = await self._context.files.call(left_behind, self._context.settings.data_dir)
        return {*folders, *self._context.devices.users(), *await self._context.groups.left_behind()}
