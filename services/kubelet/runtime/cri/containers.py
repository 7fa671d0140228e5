"""The engine's containers: create, start, stop, remove, and what they use."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from knarr.api.cri.v1 import common_pb2 as common
from knarr.api.cri.v1 import container_pb2 as cri
from knarr.api.cri.v1 import sandbox_pb2
from knarr.api.cri.v1 import stats_pb2 as stats
from services.kubelet.runtime.cri.configs import HOSTNAME, changed_resources, container_request
from services.kubelet.runtime.cri.engine import Engine, EngineError, EngineNotFound
from services.kubelet.runtime.cri.images import EngineImages
from services.kubelet.runtime.cri.log_files import pod_logs, remove_logs
from services.kubelet.runtime.cri.observer import EngineObserver
from services.kubelet.runtime.cri.sandboxes import make_log_folder, name_is_taken
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.cri.statuses import json_of
from services.kubelet.runtime.labels import CONTAINER_NAME, POD_UID, STOP_SIGNAL, pod_of
from services.kubelet.runtime.plan import ContainerPlan, Limits, PodRef
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, START_FAILED_EXIT_CODE, Container, NoSuchContainer, RuntimeFailure
from services.kubelet.runtime.signals import send_signal
from services.kubelet.runtime.usage import Storage, Usage, UsageDetails

STOP_MARGIN_SECONDS = 60.0
LOOK_SECONDS = 0.02


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
        # Whether the engine can leave out the groups that an image gives its user.
        self.strict_groups = False

    async def create(self, plan: ContainerPlan) -> Container:
        """As ``Runtime.create_container``."""
        pod = self._observer.observations.get(plan.pod.uid)
        for known in pod.containers if pod else ():
            if (known.name, known.attempt) == (plan.name, plan.attempt):
                return known
        if plan.security.strict_groups and not self.strict_groups:
            raise RuntimeFailure("the container runtime does not support supplementalGroupsPolicy: Strict")
        image = await self._images.get(plan.image_id or plan.image)
        await asyncio.to_thread(make_log_folder, self._settings.logs, plan.pod, plan.name)
        request = container_request(plan, image, await self._hostname(plan.sandbox_id), self._settings.logs, self._own)
        container = await self._observer.look(await self._create(plan, request))
        if container is None:
            raise NoSuchContainer(f"container {plan.name} was gone at once")
        return container

    async def _hostname(self, sandbox_id: str) -> str:
        told = await self._engine.runtime("PodSandboxStatus", sandbox_pb2.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id))
        return str(told.status.annotations.get(HOSTNAME, ""))

    async def _create(self, plan: ContainerPlan, request: cri.CreateContainerRequest) -> str:
        """The id of a new one, or of the one that a call made whose answer was lost."""
        try:
            return str((await self._engine.runtime("CreateContainer", request)).container_id)
        except EngineNotFound:
            self._images.forget(plan.image_id or plan.image)
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
            seen = await self._observer.look(container.id)
            if seen is not None and seen.started_at is not None:
                # It was started before, and the answer was lost.
                return
            failed = replace(container, state=EXITED, exit_code=START_FAILED_EXIT_CODE, error=str(error), finished_at=datetime.now(UTC))
            self._observer.observations.put_container(pod, failed)
            raise
        known = self._observer.observations.container(container.id)
        if known is not None and known.state == CREATED:
            self._observer.observations.put_container(pod, replace(known, state=RUNNING, started_at=datetime.now(UTC)))

    async def update(self, container: Container, pod: PodRef, limits: Limits) -> None:
        """As ``Runtime.update_container``."""
        request = cri.UpdateContainerResourcesRequest(container_id=container.id, linux=changed_resources(limits))
        await self._engine.runtime("UpdateContainerResources", request)
        self._observer.observations.put_limits(pod, container.id, limits)

    async def pin(self, container: Container, pod: PodRef, cpuset: str) -> None:
        """As ``Runtime.pin_container``: an engine leaves alone what is not said."""
        linux = common.LinuxContainerResources(cpuset_cpus=cpuset)
        await self._engine.runtime("UpdateContainerResources", cri.UpdateContainerResourcesRequest(container_id=container.id, linux=linux))
        self._observer.observations.put_pinned(pod, container.id, cpuset)

    async def stop(self, container: Container, pod: PodRef, grace_seconds: float) -> None:
        """As ``Runtime.stop_container``."""
        timeout = math.ceil(grace_seconds)
        with contextlib.suppress(EngineNotFound):
            if timeout and await self._signal(container):
                await self._wait_for_end(container, timeout)
                timeout = 0
            request = cri.StopContainerRequest(container_id=container.id, timeout=timeout)
            await self._engine.runtime("StopContainer", request, timeout + STOP_MARGIN_SECONDS)
        known = self._observer.observations.container(container.id)
        if known is not None and known.state == RUNNING:
            await self._observer.look(container.id)

    async def _signal(self, container: Container) -> bool:
        """Whether its pod chose a signal, which was sent: engines know none but the image's, before 2.1 of containerd."""
        told = await self._engine.runtime("ContainerStatus", cri.ContainerStatusRequest(container_id=container.id, verbose=True))
        number = getattr(signal, told.status.annotations.get(STOP_SIGNAL, ""), None)
        pid = int(json_of(told.info, "info").get("pid") or 0)
        return bool(pid and number and await asyncio.to_thread(send_signal, pid, container.id, number))

    async def _wait_for_end(self, container: Container, seconds: float) -> None:
        for _ in range(math.ceil(seconds / LOOK_SECONDS)):
            known = self._observer.observations.container(container.id)
            if known is None or known.state != RUNNING:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def remove(self, container: Container, pod: PodRef) -> None:
        """As ``Runtime.remove_container``."""
        with contextlib.suppress(EngineNotFound):
            await self._engine.runtime("RemoveContainer", cri.RemoveContainerRequest(container_id=container.id))
        self._observer.observations.remove(pod.uid, container.id)
        await asyncio.to_thread(remove_logs, self._settings.logs, pod, container.name, container.attempt)

    async def usage(self) -> list[Usage]:
        """As ``Runtime.usage``."""
        return [usage_of(entry) for entry in await self._stats() if entry.HasField("cpu")]

    async def storage(self, uids: Collection[str]) -> list[Storage]:
        """As ``Runtime.storage``: the engine measures the layers."""
        found = []
        for entry in await self._stats():
            pod, name = pod_of(entry.attributes.labels), entry.attributes.labels.get(CONTAINER_NAME, "")
            if pod.uid in uids:
                layer = entry.writable_layer
                logs = str(pod_logs(self._settings.logs, pod) / name)
                found.append(Storage(pod, name, "", logs, layer.used_bytes.value, layer.inodes_used.value))
        return found

    async def _stats(self) -> list[stats.ContainerStats]:
        chosen = stats.ContainerStatsFilter(label_selector=self._own)
        told = await self._engine.runtime("ListContainerStats", stats.ListContainerStatsRequest(filter=chosen))
        return [entry for entry in told.stats if POD_UID in entry.attributes.labels]


def usage_of(entry: stats.ContainerStats) -> Usage:
    """Pure."""
    labels, memory = entry.attributes.labels, entry.memory
    details = UsageDetails(
        memory_usage_bytes=memory.usage_bytes.value,
        rss_bytes=memory.rss_bytes.value,
        page_faults=memory.page_faults.value,
        major_page_faults=memory.major_page_faults.value,
    )
    cpu = entry.cpu.usage_core_nano_seconds.value
    return Usage(pod_of(labels), labels.get(CONTAINER_NAME, ""), cpu, memory.working_set_bytes.value, details=details)
