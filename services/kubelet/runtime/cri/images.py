"""The engine's images."""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api.cri.v1 import common_pb2 as common
from knarr.api.cri.v1 import image_pb2 as pb
from knarr.objects.images import full_name
from services.kubelet.runtime.cri.engine import Engine
from services.kubelet.runtime.cri.image_import import give_name
from services.kubelet.runtime.cri.statuses import json_of
from services.kubelet.runtime.image_cache import ImageCache
from services.kubelet.runtime.mirrors import had_from_mirror
from services.kubelet.runtime.port import Image, LocalImage, NoSuchImage

# A pull ends when whoever asked for it gives it up.
PULL_SECONDS = 24 * 3600.0


class EngineImages:
    """Inspects, lists and pulls images."""

    def __init__(self, engine: Engine, mirror: str = "") -> None:
        """``mirror``: one of docker.io that is asked first, a URL."""
        self._engine, self._mirror = engine, mirror
        self._known = ImageCache()
        self.forget = self._known.forget

    async def get(self, reference: str) -> Image:
        """As ``Runtime.image``."""
        if (cached := self._known.get(reference)) is not None:
            return cached
        told = await self._engine.image("ImageStatus", pb.ImageStatusRequest(image=common.ImageSpec(image=reference), verbose=True))
        if not told.HasField("image"):
            raise NoSuchImage(f"No such image: {reference}")
        return self._known.put(image_of(told, reference))

    async def all(self) -> list[LocalImage]:
        """As ``Runtime.images``."""
        told = await self._engine.image("ListImages", pb.ListImagesRequest())
        images = [LocalImage((*image.repo_digests, *image.repo_tags), int(image.size), image.id) for image in told.images]
        return [image for image in images if image.names]

    async def remove(self, reference: str) -> None:
        """As ``Runtime.remove_image``, but that an engine takes away all names of the image."""
        self.forget(reference)
        await self._engine.image("RemoveImage", pb.RemoveImageRequest(image=common.ImageSpec(image=reference)))

    async def pull(self, reference: str, auth: Mapping[str, str] | None) -> Image:
        """As ``Runtime.pull``."""
        self.forget(reference)
        if not await had_from_mirror(reference, auth, self._mirror, self._pull_from_mirror):
            await self._pull(reference, auth)
        return await self.get(reference)

    async def _pull_from_mirror(self, at_mirror: str, reference: str) -> None:
        """Its name there stays beside the other: the contract takes away all names of an image at once."""
        await self._pull(at_mirror, None)
        await give_name(self._engine, at_mirror, full_name(reference))

    async def _pull(self, reference: str, auth: Mapping[str, str] | None) -> None:
        request = pb.PullImageRequest(image=common.ImageSpec(image=reference, user_specified_image=reference))
        if auth:
            request.auth.CopyFrom(auth_of(auth))
        await self._engine.image("PullImage", request, PULL_SECONDS)


def image_of(told: pb.ImageStatusResponse, reference: str) -> Image:
    """Pure. What the contract leaves out of an image's settings is taken from what containerd says beside."""
    image = told.image
    spec = json_of(told.info, "info").get("imageSpec") or {}
    config = spec.get("config") or {}
    user = str(image.uid.value) if image.HasField("uid") else image.username
    return Image(
        id=image.id,
        reference=reference,
        user=str(config.get("User") or user),
        digest=image.repo_digests[0] if image.repo_digests else "",
        stop_signal=str(config.get("StopSignal") or ""),
        size_bytes=int(image.size),
        architecture=str(spec.get("architecture") or ""),
    )


def auth_of(auth: Mapping[str, str]) -> pb.AuthConfig:
    """Pure."""
    names = {"username": "username", "password": "password", "identitytoken": "identity_token", "registrytoken": "registry_token"}
    return pb.AuthConfig(**{theirs: auth[ours] for ours, theirs in names.items() if auth.get(ours)})
