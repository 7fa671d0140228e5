"""The CRI runtime: pods as sandbox and containers in an engine that speaks the container runtime interface.

What the engine holds is kept in memory. The runtime's own calls change it as soon as they are answered, events as they come; a full list
now and then finds what was missed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection
from dataclasses import replace

from knarr.api.cri.v1 import container_pb2 as cri
from knarr.api.cri.v1 import sandbox_pb2
from knarr.service.tasks import run_together
from services.kubelet.runtime.bridge import BridgeKeeper
from services.kubelet.runtime.cri.containers import EngineContainers
from services.kubelet.runtime.cri.engine import Engine
from services.kubelet.runtime.cri.facts import read_facts, read_version
from services.kubelet.runtime.cri.image_import import ensure_sandbox_image
from services.kubelet.runtime.cri.image_views import EngineImageViews
from services.kubelet.runtime.cri.images import EngineImages
from services.kubelet.runtime.cri.log_keeper import LogKeeper
from services.kubelet.runtime.cri.logs import EngineLogs
from services.kubelet.runtime.cri.network import ensure_network, remove_network
from services.kubelet.runtime.cri.observer import EngineObserver
from services.kubelet.runtime.cri.processes import EngineProcesses
from services.kubelet.runtime.cri.sandboxes import EngineSandboxes
from services.kubelet.runtime.cri.settings import CriSettings
from services.kubelet.runtime.dialing import dial
from services.kubelet.runtime.engine_runtime import EngineRuntime
from services.kubelet.runtime.labels import CLUSTER, NODE, pod_of
from services.kubelet.runtime.port import Filesystem, Image, NoSuchHandler, RuntimeFailure, Sandbox
from services.kubelet.runtime.usage import Storage, Usage

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.25
# How long an engine that may be none of ours may take to say what is whose.
OWNERS_SECONDS = 5.0


class CriRuntime(EngineRuntime):
    """One engine. Everything it makes carries the cluster's and the node's label."""

    _observer: EngineObserver
    _sandboxes: EngineSandboxes
    _containers: EngineContainers
    _processes: EngineProcesses

    def __init__(self, settings: CriSettings) -> None:
        super().__init__()
        self._settings = settings
        self._engine = Engine(settings.endpoint, settings.timeout_seconds)
        own = {CLUSTER: settings.cluster_id, NODE: settings.node_name}
        self._observer = EngineObserver(self._engine, settings, own)
        self._images = EngineImages(self._engine, settings.registry_mirror)
        self._image_views = EngineImageViews(self._engine, settings)
        self._sandboxes = EngineSandboxes(self._engine, settings, own, self._observer)
        self._containers = EngineContainers(self._engine, settings, own, self._images, self._observer)
        self._processes = EngineProcesses(self._engine)
        self._logs = EngineLogs(settings.logs, self._observer)
        self._log_keeper = LogKeeper(self._engine, settings, self._observer)
        self._version = "Unknown"
        self._handlers: tuple[str, ...] = ()
        self._folder = self._cgroup_driver = ""
        self._reads_cdi = False

    @property
    def strict_groups(self) -> bool:
        return self._containers.strict_groups

    def use_pod_cidr(self, pod_cidr: str) -> None:
        self._settings = replace(self._settings, pod_cidr=pod_cidr)

    async def _start(self) -> None:
        self._observer.scheme, self._version = await read_version(self._engine)
        facts = await read_facts(self._engine)
        if facts.trouble:
            raise RuntimeFailure(facts.trouble)
        self._handlers, self._folder, self._cgroup_driver = facts.handlers, facts.root, facts.cgroup_driver
        self._containers.strict_groups, self._reads_cdi = facts.strict_groups, facts.reads_cdi
        self._image_views.snapshotter = facts.snapshotter or self._image_views.snapshotter
        await ensure_network(self._engine, self._settings, facts)
        await ensure_sandbox_image(self._engine, facts.sandbox_image)
        await self._observer.relist()

    async def run(self) -> None:
        await self._started.wait()
        keeper = BridgeKeeper(self._settings.bridge, self._renew_network)
        await run_together("runtime", {"events": self._follow(), "logs": self._log_keeper.run(), "bridge": keeper.run()})

    async def _renew_network(self) -> None:
        await ensure_network(self._engine, self._settings, await read_facts(self._engine))
        await self._sandboxes.cut_off()

    async def _follow(self) -> None:
        while True:
            try:
                await self._observer.follow()
                self._observer.set_trouble(f"the container runtime at {self._settings.endpoint} ended its events")
            except RuntimeFailure as error:
                self._observer.set_trouble(str(error))
                log.warning("the container runtime's events broke", extra={"error": str(error)})
            await asyncio.sleep(RECONNECT_SECONDS)

    async def close(self) -> None:
        await self._engine.close()

    @property
    def version(self) -> str:
        return f"{self._observer.scheme}://{self._version}"

    @property
    def handlers(self) -> tuple[str, ...]:
        return self._handlers

    @property
    def reads_cdi(self) -> bool:
        return self._reads_cdi

    async def _check_handler(self, handler: str) -> None:
        if handler and handler not in self._handlers:
            self._handlers = (await read_facts(self._engine)).handlers
            if handler not in self._handlers:
                raise NoSuchHandler(handler)

    async def show_image(self, image: Image, name: str) -> Filesystem | None:
        return await self._image_views.show(image, name)

    async def hide_images(self, keep: Collection[str]) -> list[str]:
        return await self._image_views.hide(keep)

    async def dial(self, sandbox: Sandbox, port: int) -> socket.socket:
        return await dial(sandbox, await self._sandboxes.pid(sandbox.id), port)

    async def usage(self) -> list[Usage]:
        return await self._containers.usage()

    @property
    def images_folder(self) -> str:
        return self._folder

    @property
    def cgroup_driver(self) -> str:
        return self._cgroup_driver

    async def storage(self, uids: Collection[str]) -> list[Storage]:
        return await self._containers.storage(uids)

    async def sandbox_usage(self) -> list[Usage]:
        return await self._sandboxes.usage()


async def owners(endpoint: str) -> list[tuple[str, str]]:
    """The pods that kubelets have made in an engine, by their names, and the cluster that each is of. Raises RuntimeFailure."""
    engine = Engine(endpoint, OWNERS_SECONDS)
    try:
        found = (await engine.runtime("ListPodSandbox", sandbox_pb2.ListPodSandboxRequest())).items
        return [(f"{entry.metadata.namespace}/{entry.metadata.name}", entry.labels[CLUSTER]) for entry in found if CLUSTER in entry.labels]
    finally:
        await engine.close()


async def remove_everything(settings: CriSettings, *, network: bool = True) -> int:
    """Removes a cluster's sandboxes with their containers, and its network; answers how many sandboxes. Raises RuntimeFailure."""
    engine = Engine(settings.endpoint, settings.timeout_seconds)
    try:
        chosen = sandbox_pb2.PodSandboxFilter(label_selector={CLUSTER: settings.cluster_id})
        found = (await engine.runtime("ListPodSandbox", sandbox_pb2.ListPodSandboxRequest(filter=chosen))).items
        own = {CLUSTER: settings.cluster_id}
        sandboxes = EngineSandboxes(engine, settings, own, EngineObserver(engine, settings, own))
        for entry in found:
            await sandboxes.remove(Sandbox(entry.id, pod_of(entry.labels), entry.metadata.attempt, False))
        left = cri.ContainerFilter(label_selector=own)
        for container in (await engine.runtime("ListContainers", cri.ListContainersRequest(filter=left))).containers:
            await engine.runtime("RemoveContainer", cri.RemoveContainerRequest(container_id=container.id))
        await EngineImageViews(engine, settings).hide(())
        if network:
            await remove_network(settings, (await read_facts(engine)).network_folder)
        return len(found)
    finally:
        await engine.close()
