"""What sandboxes and containers have in common in the engine, where both are containers with labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.kubelet.runtime.docker.engine import Engine, EngineConflict, EngineNotFound, quoted
from services.kubelet.runtime.labels import POD_UID
from services.kubelet.runtime.plan import PodRef
from services.kubelet.runtime.port import RuntimeFailure


class OwnContainers:
    """Inspects and removes containers that carry ``own``, the labels of this cluster and node."""

    def __init__(self, engine: Engine, own: Mapping[str, str]) -> None:
        self._engine = engine
        self._own = own

    async def inspect(self, name: str, pod: PodRef) -> Any:
        """What the engine says of the one that has the name. Raises RuntimeFailure when it is not the pod's."""
        inspected = await self._engine.request("GET", f"containers/{quoted(name)}/json")
        labels = inspected["Config"].get("Labels") or {}
        if labels.get(POD_UID) != pod.uid or any(labels.get(key) != value for key, value in self._own.items()):
            raise RuntimeFailure(f"the container name {inspected['Name']} is taken by something that is not this node's")
        return inspected

    async def remove(self, container_id: str) -> None:
        """Ends and removes it; one that is gone, or is being removed, is success."""
        try:
            await self._engine.request("DELETE", f"containers/{container_id}", params={"force": 1, "v": 1})
        except EngineNotFound:
            return
        except EngineConflict as error:
            if "already in progress" not in str(error):
                raise


def name_is_taken(error: EngineConflict) -> bool:
    """Whether a create failed because a container of that name is there: made by a call whose answer was lost, or by another."""
    return "already in use" in str(error)
