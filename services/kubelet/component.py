"""The kubelet: runs the pods that are bound to its node through a runtime."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import ClassVar

import grpc.aio

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2, kubelet_service_pb2_grpc
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.events import EventRecorder
from knarr.client.informer import Informer
from knarr.service.access import ReviewedAccess, Right
from knarr.service.authentication import TokenAuthenticator
from knarr.service.component import Component
from knarr.service.errors import CommandError
from knarr.service.tasks import run_together
from knarr.service.web.message import WebFace
from services.kubelet.cgroups.keeper import PodGroups
from services.kubelet.cgroups.names import root_of
from services.kubelet.cpus.keeper import CpuKeeper
from services.kubelet.csi.drivers import Drivers
from services.kubelet.csi.growth import Growth
from services.kubelet.csi.mounts import DriverMounts
from services.kubelet.csi.node_info import NodeInfoKeeper
from services.kubelet.csi.places import Places
from services.kubelet.csi.secrets import DriverSecrets
from services.kubelet.csi.unasked import UnaskedDrivers
from services.kubelet.devices.drivers import DeviceDrivers
from services.kubelet.devices.keeper import DeviceClaims, UnaskedDevices
from services.kubelet.devices.slices import DeviceSlices
from services.kubelet.eviction.protection import NodeProtection
from services.kubelet.eviction.signals import SignalReader
from services.kubelet.node.credential_providers import CredentialProviders
from services.kubelet.node.files import NodeFiles, NoFiles
from services.kubelet.node.folders import LocalFolders
from services.kubelet.node.image_folders import ImageFolders
from services.kubelet.node.image_garbage import PulledImages
from services.kubelet.node.images import Images
from services.kubelet.node.keeper import NodeKeeper
from services.kubelet.node.lease import LeaseKeeper
from services.kubelet.node.machine import Machine, Pressure, disk_trouble, read_machine
from services.kubelet.node.mirrors import MirrorKeeper
from services.kubelet.node.pull_files import NoPullFiles, PullFiles
from services.kubelet.node.pull_ledger import PullLedger
from services.kubelet.node.resources import capacity, node_view
from services.kubelet.node.static_pods import StaticPods
from services.kubelet.node.stats import Stats
from services.kubelet.parts.keeper import PartKeeper
from services.kubelet.parts.port import NO_PARTS, NodeParts
from services.kubelet.pod.accounts import PodAccounts
from services.kubelet.pod.context import NodeContext
from services.kubelet.pod.directory import pods_directory
from services.kubelet.pod.references import ReferenceReader
from services.kubelet.pod.swap import node_swap, swap_trouble
from services.kubelet.pod.tokens import TokenKeeper, UnreadTokens
from services.kubelet.runtime.groups import is_unified
from services.kubelet.runtime.port import Runtime, RuntimeFailure
from services.kubelet.servicer import KubeletServicer
from services.kubelet.settings import KubeletSettings
from services.kubelet.web.callers import Callers
from services.kubelet.web.disks import Disks
from services.kubelet.web.face import KubeletFace
from services.kubelet.web.pages import Pages
from services.kubelet.web.survey import Surveyor
from services.kubelet.worker.manager import PodManager
from services.kubelet.worker.shutdown import Shutdown

log = logging.getLogger(__name__)

ENGINE_RETRY_SECONDS = 0.5
# What a caller needs for each call: a verb and the sub-resource of the Node. Whatever else there will be is `proxy`, which has all.
RIGHTS = {
    "ListPods": ("get", "pods"),
    "Logs": ("get", "log"),
    "Exec": ("create", "exec"),
    "Attach": ("create", "attach"),
    "PortForward": ("create", "portforward"),
    "GetStats": ("get", "stats"),
}


class Kubelet(Component):
    """One node's kubelet. Stopping it leaves the pods running; the next one adopts them."""

    name: ClassVar[str] = "kubelet"

    def __init__(
        self,
        client: Client,
        settings: KubeletSettings,
        runtime: Runtime,
        clock: Clock = SYSTEM_CLOCK,
        signals: SignalReader | None = None,
        machine: Machine | None = None,
        parts: NodeParts = NO_PARTS,
    ) -> None:
        """``signals`` tells what the node is short of; by default that is read of the machine, or of a simulated node nothing.
        ``machine``: which one a simulated node stands for; by default this one. ``parts``: what runs on the node without being a
        container of the runtime."""
        self._settings = settings
        self._runtime = runtime
        self._pods: Informer[core.Pod] = Informer(client, core.Pod, field_selector=f"spec.nodeName={settings.node_name}")
        self._services: Informer[core.Service] = Informer(client, core.Service)
        self._recorder = EventRecorder(client, "kubelet", settings.node_name)
        tokens = (TokenKeeper if runtime.mounts_files else UnreadTokens)(client, clock)
        self._references = ReferenceReader(client, self._services, settings.node_name, self._recorder, tokens, clock)
        pulled = PulledImages(settings.data_dir)
        places, files = Places(settings.data_dir), NodeFiles(settings.mounts_of) if runtime.mounts_files else NoFiles()
        pull_files = PullFiles(settings.data_dir) if runtime.mounts_files else NoPullFiles()
        self._ledger = PullLedger(pull_files, files, settings.image_verification, clock)
        self._images = Images(runtime, self._ledger, pulled.add, settings.max_parallel_pulls)
        self._providers = CredentialProviders(
            settings.credential_providers, settings.credential_provider_folder, PodAccounts(client, self._references.tokens)
        )
        machine = machine or read_machine(settings.data_dir)
        if not runtime.uses_machine:
            # What is simulated stands for machines of all kinds.
            machine = replace(machine, app_armor=True, selinux=True)
        self._machine = machine
        self._keeper = NodeKeeper(client, settings, machine, runtime, self._recorder, clock, self._pressure, self._trouble)
        self._lease = LeaseKeeper(client, settings, clock, lambda: self._keeper.node)
        device_drivers = DeviceDrivers(places)
        self._drivers = Drivers(places, NodeInfoKeeper(client, settings.node_name), lambda: self._keeper.node, [device_drivers])
        devices = (DeviceClaims if runtime.mounts_files else UnaskedDevices)(client, device_drivers, settings.data_dir, files)
        self._slices = DeviceSlices(client, settings.node_name, device_drivers)
        mounts = (DriverMounts if runtime.mounts_files else UnaskedDrivers)(
            client,
            settings.node_name,
            places,
            self._drivers,
            self._keeper.in_use,
            DriverSecrets(client, self._references.tokens.for_driver),
            Growth(client, self._recorder, settings.node_name),
            files,
            clock,
        )
        self._groups = PodGroups(root_of(settings.cluster_id, settings.node_name), files, lambda: self.manager.active())
        self.context = NodeContext(
            client,
            runtime,
            settings,
            clock,
            self._recorder,
            self._references,
            self._images,
            asyncio.Semaphore(settings.start_concurrency),
            node_view(settings, machine),
            files,
            mounts,
            devices,
            ImageFolders(settings.data_dir, pods_directory(settings.data_dir), runtime, files),
            self._groups,
            CpuKeeper(settings),
            node_swap(settings, machine),
            self._providers,
        )
        self._engine_tried = asyncio.Event()
        self._own_node: Informer[core.Node] = Informer(client, core.Node, field_selector=f"metadata.name={settings.node_name}")
        self.manager = PodManager(self.context, self._pods, self._pressure, lambda: bool(self.shutdown.trouble))
        self._begun = asyncio.Event()
        self._statics = StaticPods(settings.manifest_path, settings.node_name, self._complain)
        self._statics.on_change(self.manager.static_changed)
        self._parts = PartKeeper(client, parts, settings.node_name, settings.node_ip, self._pods, clock)
        self._mirrors = MirrorKeeper(client, self._statics, self._pods, lambda: self._keeper.node, self._parts.pods, self._parts.wait_due)
        self._protection = NodeProtection(self.context, pulled, self._ledger, self.manager.all, lambda: self._keeper.node, signals)
        self._protection.on_change(self._keeper.look)
        self.shutdown = Shutdown(settings.shutdown_periods, self.manager, self._keeper, self._recorder)
        self._folders = LocalFolders(client, settings.node_name, settings.folders, self.context.files, self._recorder, self.manager.uses)
        self.stats = Stats(runtime, clock, part=bool(settings.size))
        self.servicer = KubeletServicer(self.manager, runtime, self.stats, settings.node_ip, self._parts)
        self._disks = Disks(self.context, self.manager)

    def right(self, method: str) -> Right:
        """By sub-resources of the Node, as Kubernetes' kubelet has it permitted."""
        verb, subresource = RIGHTS.get(method.rpartition("/")[2], ("create", "proxy"))
        return Right(verb, resource="nodes", subresource=subresource, name=self._settings.node_name)

    def register(self, server: grpc.aio.Server) -> list[str]:
        kubelet_service_pb2_grpc.add_KubeletServiceServicer_to_server(self.servicer, server)
        return [kubelet_service_pb2.DESCRIPTOR.services_by_name["KubeletService"].full_name]

    def web(self, tokens: TokenAuthenticator | None) -> WebFace:
        context = self.context
        surveyor = Surveyor(self._runtime, self.stats, self.manager, self._settings.data_dir, context.clock)
        checks = {"ping": lambda: True, "log": lambda: True, "syncloop": lambda: self._works}
        pages = Pages(
            self._settings,
            self._machine,
            self.manager,
            self._runtime,
            self.servicer,
            surveyor,
            self._disks,
            self._keeper.images,
            checks,
            context.clock.now(),
        )
        callers, access = Callers(context.client, tokens), ReviewedAccess(context.client)
        return KubeletFace(self._settings.node_name, callers, access, pages.all)

    async def run(self) -> None:
        self._settings.data_dir.mkdir(parents=True, exist_ok=True)
        try:
            self.context.cpus.start()
            if self._runtime.uses_machine and (trouble := swap_trouble(self._settings, self._machine, unified=is_unified())):
                raise CommandError(trouble)
            await self.context.drivers.load()
            await self.context.devices.load()
            await self._ledger.load()
            parts = {
                "events": self._recorder.run(),
                "pods": self._pods.run(),
                "services": self._services.run(),
                "runtime": self._runtime.run(),
                "node": self._keep_node(),
                "lease": self._lease.run(),
                "stats": self.stats.run(),
                "workers": self._work(),
                "static pods": self._run_statics(),
                "mirrors": self._mirrors.run(),
                "parts": self._parts.run(),
                "folders": self._folders.run(),
                "own-node": self._own_node.run(),
                "groups": self._groups.run(),
                **self._protection.parts(self._engine_tried.wait),
            }
            if self._runtime.mounts_files:
                parts |= {"drivers": self._drivers.run(), "driver mounts": self.context.drivers.run()}
                parts |= {"image volumes": self.context.image_folders.run(), "device slices": self._slices.run()}
            self._own_node.on_change(lambda _, node: self._keeper.heard(node))
            await run_together(self.name, parts)
        finally:
            await self._disks.close()
            await self._references.close()
            await self._images.close()
            await self._providers.close()
            await self._runtime.close()
            await self._groups.close()
            self.context.files.close()

    @property
    def ready(self) -> bool:
        return self._keeper.node is not None and self._pods.synced and not self._runtime.trouble

    async def leave(self) -> None:
        await self.shutdown.leave()

    @property
    def signals(self) -> SignalReader:
        """What the node is short of, as it sees it."""
        return self._protection.signals

    def _pressure(self) -> Pressure:
        return self._protection.pressure

    def _trouble(self) -> str:
        """Why the node takes no pods, beside what engine and network say."""
        disk = disk_trouble(self._settings.data_dir) if self._runtime.mounts_files else ""
        return ", ".join(filter(None, (self.shutdown.trouble, disk)))

    @property
    def _works(self) -> bool:
        """Whether pods are being worked on, as far as that is the kubelet's own affair."""
        return self._pods.synced and self._services.synced

    async def _work(self) -> None:
        """Waits for a runtime that answers: before that nothing is known of what already runs."""
        try:
            await self._start_runtime()
            self.manager.begin()
            self._begun.set()
            await asyncio.gather(self._statics.read.wait(), self._pods.wait_synced(), self._services.wait_synced())
            await self.manager.run()
        finally:
            await self.manager.close()

    async def _run_statics(self) -> None:
        """They wait for no API."""
        await self._begun.wait()
        await self._statics.run()

    def _complain(self, words: str) -> None:
        """Of a file that describes no pod: on the Node, which is all that there is of it in the API."""
        node = core.Node()
        node.metadata.name = node.metadata.uid = self._settings.node_name
        self._recorder.event(node, "Warning", "FailedValidation", words)

    async def _start_runtime(self) -> None:
        if not self._settings.pod_cidr:
            self._runtime.use_pod_cidr(await self._given_pod_cidr())
        while True:
            try:
                await self._runtime.start()
                await self._ledger.settle(self._runtime.images)
                await self._groups.start(self._runtime.cgroup_driver, *capacity(self._settings, self._machine))
                return
            except RuntimeFailure as error:
                log.warning("the container engine is not ready", extra={"error": str(error)})
            finally:
                self._engine_tried.set()
            await asyncio.sleep(ENGINE_RETRY_SECONDS)

    async def _given_pod_cidr(self) -> str:
        """The range that the Node has, or is given once it is registered."""
        await self._own_node.wait_synced()
        known = self._keeper.pod_range
        self._own_node.on_change(lambda _, node: known.learn(node) if node is not None else None)
        for node in self._own_node.store.list():
            known.learn(node)
        if not known.cidr:
            # Registers before the engine is asked: without that there is nothing to wait for.
            self._engine_tried.set()
            log.info("waiting for the podCIDR of this node")
        return await known.wait()

    async def _keep_node(self) -> None:
        """Reports the node from the moment its engine was asked once: a restart must not look like a node that fails."""
        await self._engine_tried.wait()
        await self._keeper.run()
