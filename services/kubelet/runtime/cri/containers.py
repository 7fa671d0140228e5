"""The engine's containers: create, start, stop, remove, and what they use."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from knarr.api.cri.v1 import container_pb2 as cri
from knarr.api.cri.v1 import stats_pb2 as stats
from services.kubelet.runtime.cri.configs import container_request, resources
from services.kubelet.runtime.cri.engine import Engine, EngineError, EngineNotFound
from services.kubelet.runtime.cri.images import EngineImages
from services.kubelet.runtime.cri.log_files import remove_logs
from services.kubelet.runtime.cri.observer import EngineObserver
from services.kubelet.runtime.cri.sandboxes import make_log_folder, name_is_taken
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.cri.statuses import START_FAILED_EXIT_CODE
from services.kubelet.runtime.labels import CONTAINER_NAME, POD_UID, pod_of
from services.kubelet.runtime.plan import ContainerPlan, Limits, PodRef
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, Container, NoSuchContainer, RuntimeFailure, Usage

STOP_MARGIN_SECONDS = 60.0


class EngineContainers:
    """Makes, starts, stops and removes containers. The result is put into the observations at once, before the engine's event comes."""

    def __init__(
        self, engine: Engine, settings: CriSettings, own: Mapping[str, str], images: EngineImages, observer: EngineObserver
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._own = own
        self._images = images
        self._observer = observer

    async def create(self, plan: ContainerPlan) -> Container:
        """As ``Runtime.create_container``."""
        pod = self._observer.observations.get(plan.pod.uid)
        for known in pod.containers if pod else ():
            if (known.name, known.attempt) == (plan.name, plan.attempt):
                return known
        image = await self._images.get(plan.image)
        await asyncio.to_thread(make_log_folder, self._settings.logs, plan.pod, plan.name)
        request = container_request(plan, image.id, self._settings.logs, self._own)
        container = await self._observer.look(await self._create(plan, request))
        if container is None:
            raise NoSuchContainer(f"container {plan.name} was gone at once")
        return container

    async def _create(self, plan: ContainerPlan, request: cri.CreateContainerRequest) -> str:
        """The id of a new one, or of the one that a call made whose answer was lost."""
        try:
            return str((await self._engine.runtime("CreateContainer", request)).container_id)
        except EngineNotFound:
            self._images.forget(plan.image)
            raise
        except EngineError as error:
            if not name_is_taken(error):
                raise
        found = await self._observer.find_container(plan.pod.uid, plan.name, plan.attempt)
        if found is None:
            raise RuntimeFailure(f"container {plan.name} is being made by an earlier call")
        return str(found.id)

    async def start(self, container: Container, pod: PodRef) -> None:
        """As ``Runtime.start_container``; one that does not start is observed as one that ended."""
        try:
            await self._engine.runtime("StartContainer", cri.StartContainerRequest(container_id=container.id))
        except EngineError as error:
            known, now = self._observer.container(container.id), datetime.now(UTC)
            if known is not None and known.started_at is not None:
                # It was started before, and the answer was lost.
                return
            failed = replace(container, state=EXITED, exit_code=START_FAILED_EXIT_CODE, error=str(error), finished_at=now)
            self._observer.observations.put_container(pod, failed)
            raise
        known = self._observer.container(container.id)
        if known is not None and known.state == CREATED:
            self._observer.observations.put_container(pod, replace(known, state=RUNNING, started_at=datetime.now(UTC)))

    async def update(self, container: Container, pod: PodRef, limits: Limits) -> None:
        """As ``Runtime.update_container``."""
        request = cri.UpdateContainerResourcesRequest(container_id=container.id, linux=resources(limits))
        await self._engine.runtime("UpdateContainerResources", request)
        known = self._observer.container(container.id)
        if known is not None:
            kept = known.limits.oom_score_adj if known.limits else limits.oom_score_adj
            self._observer.observations.put_container(pod, replace(known, limits=replace(limits, oom_score_adj=kept)))

    async def stop(self, container: Container, pod: PodRef, grace_seconds: float) -> None:
        """As ``Runtime.stop_container``."""
        timeout = math.ceil(grace_seconds)
        request = cri.StopContainerRequest(container_id=container.id, timeout=timeout)
        with contextlib.suppress(EngineNotFound):
            await self._engine.runtime("StopContainer", request, timeout + STOP_MARGIN_SECONDS)
        known = self._observer.container(container.id)
        if known is not None and known.state == RUNNING:
            await self._observer.look(container.id)

    async def remove(self, container: Container, pod: PodRef) -> None:
        """As ``Runtime.remove_container``."""
        with contextlib.suppress(EngineNotFound):
            await self._engine.runtime("RemoveContainer", cri.RemoveContainerRequest(container_id=container.id))
        self._observer.observations.remove(pod.uid, container.id)
        await asyncio.to_thread(remove_logs, self._settings.logs, pod, container.name, container.attempt)

    async def usage(self) -> list[Usage]:
        """As ``Runtime.usage``."""
        chosen = stats.ContainerStatsFilter(label_selector=self._own)
        told = await self._engine.runtime("ListContainerStats", stats.ListContainerStatsRequest(filter=chosen))
        return [usage_of(entry) for entry in told.stats if POD_UID in entry.attributes.labels and entry.HasField("cpu")]


def usage_of(entry: stats.ContainerStats) -> Usage:
    """Pure."""
    labels = entry.attributes.labels
    cpu, memory = entry.cpu.usage_core_nano_seconds.value, entry.memory.working_set_bytes.value
    return Usage(pod_of(labels), labels.get(CONTAINER_NAME, ""), cpu, memory)
