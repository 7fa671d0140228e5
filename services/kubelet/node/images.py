"""Images on the node: whether one must be fetched, and fetching each only once at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from knarr.objects.images import valid_image, with_tag
from knarr.service.tasks import SharedTasks
from services.kubelet.runtime.port import Image, NoSuchImage, Runtime, RuntimeFailure, RuntimeUnavailable

NEVER, ALWAYS = "Never", "Always"
INSPECT_ERROR = "ImageInspectError"


class ImageFailure(Exception):
    """Why there is no image: the waiting reason and its message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Images:
    """Shared by all pods of a node: a second pull of one reference waits for the first, and no more than ``at_once`` go on at the same
    time; 0: as many as are asked for."""

    def __init__(self, runtime: Runtime, pulled: Callable[[str], None] = lambda _: None, at_once: int = 0) -> None:
        """``pulled`` is told each reference that was fetched."""
        self._runtime, self._pulled = runtime, pulled
        self._pulls: SharedTasks[str, tuple[Image, float]] = SharedTasks()
        self._turns = asyncio.Semaphore(at_once) if at_once else contextlib.nullcontext()

    async def present(self, reference: str, policy: str) -> Image | None:
        """The image where nothing needs to be pulled, else None. Raises ImageFailure."""
        if not valid_image(reference):
            raise ImageFailure("InvalidImageName", f'Failed to apply default image tag "{reference}": couldn\'t parse image name')
        if policy == ALWAYS:
            return None
        try:
            return await self._runtime.image(with_tag(reference))
        except NoSuchImage:
            if policy == NEVER:
                message = f'Container image "{reference}" is not present with pull policy of Never'
                raise ImageFailure("ErrImageNeverPull", message) from None
            return None
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            raise ImageFailure(INSPECT_ERROR, f'Failed to inspect image "{reference}": {error}') from error

    async def pull(self, reference: str, auth: Mapping[str, str] | None) -> tuple[Image, float]:
        """Fetches it, in how many seconds without waiting for others; raises RuntimeFailure in the engine's words."""
        name = with_tag(reference)
        found = await self._pulls.result(name, lambda: self._pull(name, auth), f"kubelet/pull/{name}")
        self._pulled(name)
        return found

    async def _pull(self, name: str, auth: Mapping[str, str] | None) -> tuple[Image, float]:
        async with self._turns:
            started = asyncio.get_running_loop().time()
            image = await self._runtime.pull(name, auth)
            return image, asyncio.get_running_loop().time() - started

    async def close(self) -> None:
        await self._pulls.close()
