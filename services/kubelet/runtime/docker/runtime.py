"""The Docker runtime: pods as sandbox and container in one engine, observed by its event stream.

What the engine holds is kept in memory. The runtime's own calls change it as soon as they are
answered, events as they come; a full list after every (re)connect and now and then finds what
was missed. A state never goes back: a late answer to a start does not revive what has died.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from dataclasses import replace

from knarr.service.tasks import run_together
from services.kubelet.runtime.bridge import BridgeKeeper
from services.kubelet.runtime.dialing import dial
from services.kubelet.runtime.docker.accounts import EngineAccounts
from services.kubelet.runtime.docker.containers import EngineContainers
from services.kubelet.runtime.docker.engine import Engine
from services.kubelet.runtime.docker.engine_logs import EngineLogs
from services.kubelet.runtime.docker.facts import EngineFacts
from services.kubelet.runtime.docker.images import EngineImages
from services.kubelet.runtime.docker.interfaces import EngineInterfaces
from services.kubelet.runtime.docker.logs import ContainerLogs
from services.kubelet.runtime.docker.meter import EngineMeter
from services.kubelet.runtime.docker.network import ensure_network, renew_network
from services.kubelet.runtime.docker.observer import EngineObserver
from services.kubelet.runtime.docker.own_bridge import ensure_bridge
from services.kubelet.runtime.docker.owned import OwnContainers
from services.kubelet.runtime.docker.pause import ensure_pause_image
from services.kubelet.runtime.docker.processes import EngineProcesses
from services.kubelet.runtime.docker.sandboxes import EngineSandboxes
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.docker.unstarted import UnstartedContainers
from services.kubelet.runtime.engine_runtime import EngineRuntime
from services.kubelet.runtime.labels import CLUSTER, NODE
from services.kubelet.runtime.port import Accounts, Image, RuntimeFailure, Sandbox
from services.kubelet.runtime.usage import Storage, Usage

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.25
FACTS_TIMEOUT_SECONDS = 20.0


class DockerRuntime(EngineRuntime):
    """One engine. Everything it makes carries the cluster's and the node's label."""

    _observer: EngineObserver
    _sandboxes: EngineSandboxes
    _containers: EngineContainers
    _processes: EngineProcesses

    def __init__(self, settings: DockerSettings) -> None:
        super().__init__()
        self._settings = settings
        self._engine = Engine(settings.url, settings.timeout_seconds)
        self._own = {CLUSTER: settings.cluster_id, NODE: settings.node_name}
        self._interfaces = EngineInterfaces(self._engine, settings)
        self._observer = EngineObserver(self._engine, settings, self._own, self._interfaces)
        self._meter = EngineMeter(self._engine, self._observer)
        owned = OwnContainers(self._engine, self._own)
        self._images = EngineImages(self._engine, settings.registry_mirror)
        self._unstarted = UnstartedContainers(self._engine, self._own)
        self._accounts = EngineAccounts(self._unstarted)
        self._facts = EngineFacts(self._engine)
        self._sandboxes = EngineSandboxes(self._engine, settings, self._own, owned, self._interfaces, self._observer, self._may_hide)
        self._containers = EngineContainers(self._engine, settings, self._own, owned, self._images, self._observer)
        self._processes = EngineProcesses(self._engine, self._observer)
        self._logs = ContainerLogs(EngineLogs(self._engine, self._observer), self._observer, self._facts)

    def use_pod_cidr(self, pod_cidr: str) -> None:
        self._settings = replace(self._settings, pod_cidr=pod_cidr)
        self._observer.use_pod_cidr(pod_cidr)
        self._interfaces.use_pod_cidr(pod_cidr)

    def _may_hide(self) -> bool:
        """Of a pod whose network it does not know the engine tells no use: that is read here, or it must know it."""
        return self._facts.hooks_networks and self._meter.reads_groups

    async def _start(self) -> None:
        await self._facts.read(FACTS_TIMEOUT_SECONDS)
        await asyncio.gather(self._ensure_network(), ensure_pause_image(self._engine))
        await self._unstarted.clear()
        await self._observer.relist()

    async def run(self) -> None:
        await self._started.wait()
        keeper = BridgeKeeper(self._settings.bridge, self._renew_network)
        await run_together("runtime", {"events": self._follow(), "bridge": keeper.run()})

    async def _ensure_network(self) -> None:
        if self._settings.network_of:
            await ensure_bridge(self._settings)
        else:
            await ensure_network(self._engine, self._settings, self._observer.addresses.gateway, self._own)

    async def _renew_network(self) -> None:
        if self._settings.network_of:
            await ensure_bridge(self._settings)
        else:
            await renew_network(self._engine, self._settings, self._observer.addresses.gateway, self._own)
        await self._observer.relist()

    async def _follow(self) -> None:
        while True:
            try:
                await self._observer.follow()
            except RuntimeFailure as error:
                self._observer.set_trouble(str(error))
                log.warning("the engine's event stream broke", extra={"error": str(error)})
            await asyncio.sleep(RECONNECT_SECONDS)
            # Where it is away still, what it said last is the best guess.
            with suppress(RuntimeFailure):
                await self._facts.read()

    async def close(self) -> None:
        await self._processes.close()
        await self._engine.close()

    @property
    def version(self) -> str:
        return f"docker://{self._facts.version}"

    @property
    def handlers(self) -> tuple[str, ...]:
        return self._facts.handlers

    async def _check_handler(self, handler: str) -> None:
        await self._facts.check(handler)

    async def accounts(self, image: Image) -> Accounts | None:
        return await self._accounts.get(image.id)

    def export(self, image: Image) -> AsyncIterator[bytes]:
        return self._unstarted.export(image.id)

    async def dial(self, sandbox: Sandbox, port: int) -> socket.socket:
        inspected = await self._engine.request("GET", f"containers/{sandbox.id}/json")
        return await dial(sandbox, int(inspected["State"]["Pid"]), port)

    async def usage(self) -> list[Usage]:
        return await self._meter.usage()

    @property
    def reads_cdi(self) -> bool:
        return self._facts.reads_cdi

    @property
    def images_folder(self) -> str:
        return self._facts.root

    @property
    def cgroup_driver(self) -> str:
        return self._facts.cgroup_driver

    async def storage(self, uids: Collection[str]) -> list[Storage]:
        return await self._containers.storage(uids, self._facts.root)

    async def sandbox_usage(self) -> list[Usage]:
        return await self._meter.sandbox_usage(await self._interfaces.look())
