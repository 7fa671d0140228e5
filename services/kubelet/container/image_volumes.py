"""Images that a container mounts as volumes: each fetched as the container's own image is, and laid on the node."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.image_fetcher import ImageFetcher
from services.kubelet.node.images import ImageFailure
from services.kubelet.pod.context import PodContext
from services.kubelet.pod.references import References
from services.kubelet.runtime.port import RuntimeFailure, RuntimeUnavailable


class VolumeImageFailure(Exception):
    """Why there is no image for a volume; ``asked`` is the container as which it was fetched."""

    def __init__(self, asked: core.Container, failure: ImageFailure) -> None:
        super().__init__(failure.message)
        self.asked, self.failure = asked, failure


class NotLaid(Exception):
    """An image is on the node and could not be shown as a volume: the message of CreateContainerError."""


class ImageVolumes:
    """Of one pod."""

    def __init__(self, context: PodContext, images: ImageFetcher) -> None:
        self._shared, self._facts, self._directory, self._images = context.shared, context.facts, context.directory, images

    async def lay(self, pod: core.Pod, spec: core.Container, references: References) -> dict[str, str]:
        """Where those lie that ``spec`` mounts, by the names of its volumes. Raises VolumeImageFailure, NotLaid and RuntimeUnavailable."""
        sources = {volume.name: volume.volume_source.image for volume in pod.spec.volumes if volume.volume_source.HasField("image")}
        mounted = [name for name in sources if any(mount.name == name for mount in spec.volume_mounts)]
        return {name: await self._lay(pod, spec.name, name, sources[name], references) for name in mounted}

    async def _lay(self, pod: core.Pod, container: str, name: str, source: core.ImageVolumeSource, references: References) -> str:
        asked = core.Container(name=container, image=source.reference, image_pull_policy=source.pull_policy)
        try:
            image = await self._images.fetch(pod, asked, references)
        except ImageFailure as failure:
            raise VolumeImageFailure(asked, failure) from failure
        self._facts.images[name] = image.digest or image.id
        if not self._shared.runtime.mounts_files:
            return ""
        try:
            return str(await self._shared.image_folders.lay(image, self._directory.root))
        except RuntimeUnavailable:
            raise
        except (RuntimeFailure, OSError) as error:
            raise NotLaid(f'failed to mount image volume "{name}": {error}') from error
