"""What lies in an image, seen by a container that is never started: the engine shows files of containers only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from services.kubelet.runtime.docker.engine import Engine, EngineConflict
from services.kubelet.runtime.docker.owned import OwnContainers
from services.kubelet.runtime.labels import KIND

UNSTARTED_KIND = "unstarted"


class UnstartedContainers:
    """Each is removed as soon as it was looked into."""

    def __init__(self, engine: Engine, own: Mapping[str, str]) -> None:
        self.engine = engine
        self._own = {**own, KIND: UNSTARTED_KIND}
        self._owned = OwnContainers(engine, self._own)

    async def clear(self) -> None:
        """Removes those of a kubelet before this one that was cut off. Raises RuntimeFailure."""
        filters = json.dumps({"label": [f"{key}={value}" for key, value in self._own.items()]})
        found = await self.engine.request("GET", "containers/json", params={"all": 1, "filters": filters})
        for entry in found or ():
            await self._owned.remove(entry["Id"])

    @asynccontextmanager
    async def of(self, image_id: str) -> AsyncIterator[str]:
        """The id of one, until the end of the block. Raises RuntimeFailure."""
        container_id = await self._create(f"knarr_unstarted_{image_id.removeprefix('sha256:')[:32]}", image_id)
        try:
            yield container_id
        finally:
            await self._owned.remove(container_id)

    async def export(self, image_id: str) -> AsyncIterator[bytes]:
        """As ``Runtime.export``."""
        async with self.of(image_id) as container_id, self.engine.stream("GET", f"containers/{container_id}/export") as chunks:
            async for chunk in chunks:
                yield chunk

    async def _create(self, name: str, image_id: str) -> str:
        body = {"Image": image_id, "Labels": self._own, "Cmd": ["-"], "Entrypoint": ["-"], "NetworkDisabled": True}
        try:
            return str((await self.engine.request("POST", "containers/create", params={"name": name}, body=body))["Id"])
        except EngineConflict:
            # One of somebody who asks at the same time, or was cut off: with a name of the engine's own there are two.
            return str((await self.engine.request("POST", "containers/create", body=body))["Id"])
