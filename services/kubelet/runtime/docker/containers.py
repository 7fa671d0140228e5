"""The engine's containers: create, start, stop, remove, and where they keep what they write."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from services.kubelet.runtime.docker.bodies import container_body, container_name, pin_body, update_body
from services.kubelet.runtime.docker.engine import Engine, EngineConflict, EngineError, EngineNotFound
from services.kubelet.runtime.docker.images import EngineImages
from services.kubelet.runtime.docker.observations import container_from, image_id
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.owned import OwnContainers, name_is_taken
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.plan import ContainerPlan, Limits, PodRef
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, START_FAILED_EXIT_CODE, Container, Image, RuntimeFailure
from services.kubelet.runtime.signals import signal_name
from services.kubelet.runtime.usage import Storage

STOP_MARGIN_SECONDS = 60.0
PRIVILEGE_ADVICE = (
    "this machine lacks a capability that the container asks for: instead of securityContext.privileged, "
    "list those it needs in securityContext.capabilities.add"
)


class EngineContainers:
    """Makes, starts, stops and removes containers. The result is put into the observations at once, before the engine's event comes."""

    def __init__(
        self,
        engine: Engine,
        settings: DockerSettings,
        own: Mapping[str, str],
        owned: OwnContainers,
        images: EngineImages,
        observer: EngineObserver,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._own = own
        self._owned = owned
        self._images = images
        self._observer = observer

    async def create(self, plan: ContainerPlan) -> Container:
        """As ``Runtime.create_container``."""
        image = await self._images.get(plan.image_id or plan.image)
        body = container_body(plan, image.id, self._settings, self._own)
        name = container_name(plan)
        try:
            created = await self._engine.request("POST", "containers/create", params={"name": name}, body=body)
        except EngineNotFound:
            self._images.forget(plan.image_id or plan.image)
            raise
        except EngineConflict as error:
            if not name_is_taken(error):
                raise
            inspected = await self._owned.inspect(name, plan.pod)
            self._observer.remember(inspected)
            return container_from(inspected)
        container = _created(created["Id"], plan, image)
        if plan.process.tty:
            self._observer.ttys.add(container.id)
        self._observer.observations.put_container(plan.pod, container)
        return container

    async def start(self, container: Container, pod: PodRef) -> None:
        """As ``Runtime.start_container``; one that does not start is observed as one that ended."""
        try:
            await self._engine.request("POST", f"containers/{container.id}/start")
        except EngineError as error:
            now, words = datetime.now(UTC), _with_advice(str(error))
            failed = replace(container, state=EXITED, exit_code=START_FAILED_EXIT_CODE, error=words, finished_at=now)
            self._observer.observations.put_container(pod, failed)
            raise (RuntimeFailure(words) if words != str(error) else error) from error
        if self._observer.state(container.id) == CREATED:
            self._observer.observations.put_container(pod, replace(container, state=RUNNING, started_at=datetime.now(UTC)))

    async def update(self, container: Container, pod: PodRef, limits: Limits) -> None:
        """As ``Runtime.update_container``."""
        await self._engine.request("POST", f"containers/{container.id}/update", body=update_body(limits))
        self._observer.observations.put_limits(pod, container.id, limits)

    async def pin(self, container: Container, pod: PodRef, cpuset: str) -> None:
        """As ``Runtime.pin_container``."""
        await self._engine.request("POST", f"containers/{container.id}/update", body=pin_body(cpuset))
        self._observer.observations.put_pinned(pod, container.id, cpuset)

    async def stop(self, container: Container, pod: PodRef, grace_seconds: float) -> None:
        """As ``Runtime.stop_container``."""
        timeout = math.ceil(grace_seconds)
        path, params = f"containers/{container.id}/stop", {"t": timeout}
        try:
            await self._engine.request("POST", path, params=params, timeout_seconds=timeout + STOP_MARGIN_SECONDS)
        except EngineNotFound:
            self._observer.observations.remove(pod.uid, container.id)
        if self._observer.state(container.id) == RUNNING:
            await self._observer.look(container.id)

    async def remove(self, container: Container, pod: PodRef) -> None:
        """As ``Runtime.remove_container``."""
        await self._owned.remove(container.id)
        self._observer.ttys.discard(container.id)
        self._observer.observations.remove(pod.uid, container.id)

    async def storage(self, uids: Collection[str], root: str) -> list[Storage]:
        """As ``Runtime.storage``; ``root`` is the engine's own folder, empty where it is not known."""
        pods = [pod for uid in uids if (pod := self._observer.observations.get(uid)) is not None]
        found = await asyncio.gather(*(self._storage_of(pod.ref, c, root) for pod in pods for c in pod.containers))
        return [storage for storage in found if storage is not None]

    async def _storage_of(self, ref: PodRef, container: Container, root: str) -> Storage | None:
        """The engine's driver keeps a layer in a folder, or the engine measures it, which takes longer."""
        try:
            inspected = await self._engine.request("GET", f"containers/{container.id}/json")
            layer = str(((inspected.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir") or "")
            if not layer:
                inspected = await self._engine.request("GET", f"containers/{container.id}/json", params={"size": "true"})
        except EngineNotFound:
            return None
        logs = f"{root}/containers/{container.id}/local-logs" if root else ""
        return Storage(ref, container.name, layer, logs, 0 if layer else int(inspected.get("SizeRw") or 0))


def _created(engine_id: str, plan: ContainerPlan, image: Image) -> Container:
    return Container(
        id=engine_id,
        name=plan.name,
        attempt=plan.attempt,
        state=CREATED,
        image=plan.image,
        image_id=f"docker-pullable://{image.digest}" if image.digest else image_id(image.id),
        spec_hash=plan.spec_hash,
        sandbox_attempt=plan.sandbox_attempt,
        created_at=datetime.now(UTC),
        limits=plan.limits,
        identity=plan.security.identity,
        stop_signal=signal_name(plan.stop_signal or image.stop_signal),
    )


def _with_advice(words: str) -> str:
    """What to do about a failure whose own words do not say it."""
    return f"{words} ({PRIVILEGE_ADVICE})" if "unable to apply caps" in words else words
