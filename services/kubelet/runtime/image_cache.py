"""What an engine said of images, kept for a while: the containers of a pod, and the pods of a Deployment, mostly have the same."""

from __future__ import annotations

import asyncio

from services.kubelet.runtime.port import Image

SECONDS = 30.0


class ImageCache:
    """Images by the references that they were asked for by, and by their ids, each for ``SECONDS`` of the loop's time."""

    def __init__(self) -> None:
        # Until when, and the image.
        self._known: dict[str, tuple[float, Image]] = {}

    def get(self, reference: str) -> Image | None:
        """None where it must be asked for."""
        until, image = self._known.get(reference, (0.0, None))
        return image if asyncio.get_running_loop().time() < until else None

    def put(self, image: Image) -> Image:
        self._known[image.reference] = self._known[image.id] = (asyncio.get_running_loop().time() + SECONDS, image)
        return image

    def forget(self, reference: str) -> None:
        """It was removed, or is about to change."""
        _, image = self._known.pop(reference, (0.0, None))
        if image is not None:
            self._known = {name: known for name, known in self._known.items() if known[1].id != image.id}
