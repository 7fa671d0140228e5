"""The images that a Node's status lists."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.port import LocalImage, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
TIMEOUT_SECONDS = 5.0
# As many as Kubernetes tells, the largest first.
MAX_IMAGES, MAX_NAMES = 50, 5


class ImageReport:
    """Looked up once a minute: images come and go without a word from the engine, and the list is long."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._looked_at = float("-inf")
        self.images: list[core.ContainerImage] = []
        # What all images take, in bytes.
        self.total_bytes = 0

    async def look(self) -> None:
        """Asks the engine if it is time; one that does not answer leaves the images as they were."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < LOOK_SECONDS or self._runtime.trouble:
            return
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                found = await self._runtime.images()
        except (RuntimeFailure, TimeoutError) as error:
            log.info("images not listed", extra={"error": str(error) or "the engine took too long"})
            return
        self._looked_at = now
        self.images, self.total_bytes = largest(found), sum(image.size_bytes for image in found)


def largest(images: Iterable[LocalImage]) -> list[core.ContainerImage]:
    """As the status lists them."""
    chosen = sorted(images, key=lambda image: (-image.size_bytes, image.names))[:MAX_IMAGES]
    return [core.ContainerImage(names=image.names[:MAX_NAMES], size_bytes=image.size_bytes) for image in chosen]
