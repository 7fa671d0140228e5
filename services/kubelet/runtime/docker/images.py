"""The engine's images."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from knarr.objects.images import with_tag
from services.kubelet.runtime.docker.engine import Engine, EngineNotFound, quoted
from services.kubelet.runtime.docker.events import lines
from services.kubelet.runtime.image_cache import ImageCache
from services.kubelet.runtime.mirrors import had_from_mirror, split_tag
from services.kubelet.runtime.port import Image, LocalImage, NoSuchImage, RuntimeFailure

# How long a pull may stand still, as containerd has it.
PROGRESS_SECONDS = 300.0


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
        try:
            found = await self._engine.request("GET", f"images/{quoted(reference)}/json")
        except EngineNotFound as error:
            raise NoSuchImage(str(error)) from error
        digests = found.get("RepoDigests") or []
        config = found.get("Config") or {}
        return self._known.put(
            Image(
                id=found["Id"],
                reference=reference,
                user=config.get("User") or "",
                digest=digests[0] if digests else "",
                stop_signal=config.get("StopSignal") or "",
                size_bytes=found["Size"],
                architecture=found.get("Architecture") or "",
            )
        )

    async def all(self) -> list[LocalImage]:
        """As ``Runtime.images``."""
        found = await self._engine.request("GET", "images/json")
        images = [LocalImage(tuple(_names(entry)), int(entry["Size"]), entry["Id"]) for entry in found]
        return [image for image in images if image.names]

    async def remove(self, reference: str) -> None:
        """As ``Runtime.remove_image``."""
        self.forget(reference)
        with suppress(EngineNotFound):
            await self._engine.request("DELETE", f"images/{quoted(reference)}")

    async def pull(self, reference: str, auth: Mapping[str, str] | None) -> Image:
        """As ``Runtime.pull``."""
        self.forget(reference)
        if not await had_from_mirror(reference, auth, self._mirror, self._pull_from_mirror):
            await self._pull(reference, auth)
        return await self.get(reference)

    async def _pull_from_mirror(self, at_mirror: str, reference: str) -> None:
        await self._pull(at_mirror, None)
        repository, tag = split_tag(with_tag(reference))
        await self._engine.request("POST", f"images/{quoted(at_mirror)}/tag", params={"repo": repository, "tag": tag})
        # Its name there is nobody's, and would keep the image when the other one goes.
        await self._engine.request("DELETE", f"images/{quoted(at_mirror)}")

    async def _pull(self, reference: str, auth: Mapping[str, str] | None) -> None:
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(dict(auth)).encode()).decode()} if auth else {}
        loop = asyncio.get_running_loop()
        try:
            async with (
                asyncio.timeout(PROGRESS_SECONDS) as patience,
                self._engine.stream("POST", "images/create", params={"fromImage": reference}, headers=headers) as chunks,
            ):
                async for line in lines(chunks):
                    patience.reschedule(loop.time() + PROGRESS_SECONDS)
                    progress = json.loads(line)
                    if "error" in progress:
                        raise RuntimeFailure(str(progress["error"]))
        except TimeoutError:
            words = f'pulling image "{reference}" was given up: there was no progress for {PROGRESS_SECONDS:g} seconds'
            raise RuntimeFailure(words) from None


def _names(entry: Mapping[str, Any]) -> Iterator[str]:
    for name in (*(entry.get("RepoDigests") or []), *(entry.get("RepoTags") or [])):
        if "<none>" not in name:
            yield name
