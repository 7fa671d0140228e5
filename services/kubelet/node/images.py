"""Images on the node: whether one must be fetched, and fetching each only once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from knarr.objects.images import valid_image, with_tag
from services.kubelet.runtime.port import Image, NoSuchImage, Runtime

NEVER, ALWAYS = "Never", "Always"


class ImageFailure(Exception):
    """Why there is no image: the waiting reason and its message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Images:
    """Shared by all pods of a node: a second pull of one reference waits for the first."""

    def __init__(self, runtime: Runtime, pulled: Callable[[str], None] = lambda _: None) -> None:
        """``pulled`` is told each reference that was fetched."""
        self._runtime, self._pulled = runtime, pulled
        self._pulls: dict[str, asyncio.Task[Image]] = {}

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

    async def pull(self, reference: str, auth: Mapping[str, str] | None) -> Image:
        """Fetches it; raises RuntimeFailure in the engine's words."""
        name = with_tag(reference)
        task = self._pulls.get(name)
        if task is None:
            task = asyncio.create_task(self._runtime.pull(name, auth), name=f"kubelet/pull/{name}")
            self._pulls[name] = task
            task.add_done_callback(lambda _: self._pulls.pop(name, None))
        image = await asyncio.shield(task)
        self._pulled(name)
        return image

    async def close(self) -> None:
        for task in list(self._pulls.values()):
            task.cancel()
        await asyncio.gather(*self._pulls.values(), return_exceptions=True)
