"""The Node object: registers it, keeps its status true, renews its Lease."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.events import EventRecorder
from knarr.machinery.errors import StatusError
from knarr.machinery.times import to_time
from knarr.machinery.version import GIT_VERSION
from knarr.objects.conditions import condition_status, set_condition
from knarr.objects.copies import copy_of
from knarr.objects.labels import HOSTNAME
from knarr.objects.tolerations import NO_SCHEDULE, UNINITIALIZED
from services.kubelet.node.machine import Machine, Pressure, read_pressure
from services.kubelet.node.view import NodeView
from services.kubelet.runtime.port import Runtime, RuntimeFailure
from services.kubelet.settings import EXTERNAL, KubeletSettings

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
RETRY_SECONDS = 0.2
RETRY_LIMIT_SECONDS = 7.0
IMAGES_SECONDS = 60.0
IMAGES_TIMEOUT_SECONDS = 5.0
# As many as Kubernetes tells, the largest first.
MAX_IMAGES, MAX_IMAGE_NAMES = 50, 5
# With an external cloud provider: the taint until it has told of the machine, and the reasons by which it tells of the pods' routes.
ROUTE_REASONS = ("RouteCreated", "NoRouteCreated")
WAITING_FOR_CIDR = "the node has no podCIDR yet; the controller gives it a part of the cluster's range"
MOVED_CIDR = "the node's podCIDR is {given} now, and its pods have addresses of {used}; drain the node and restart its kubelet"


def desired_node(settings: KubeletSettings, machine: Machine, pod_cidr: str) -> core.Node:
    """The Node as it is registered, without its status. An empty ``pod_cidr`` is left to the controller."""
    node = core.Node()
    node.metadata.name = settings.node_name
    labels = {
        HOSTNAME: settings.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
        **settings.labels,
    }
    node.metadata.labels.update(labels)
    if pod_cidr:
        node.spec.pod_cidr = pod_cidr
        node.spec.pod_cidrs.append(pod_cidr)
    node.spec.provider_id = settings.provider_id
    if settings.cloud_provider == EXTERNAL:
        node.spec.taints.add(key=UNINITIALIZED, value="true", effect=NO_SCHEDULE)
    for text in settings.taints:
        key_value, _, effect = text.rpartition(":")
        key, _, value = key_value.partition("=")
        node.spec.taints.add(key=key, value=value, effect=effect)
    return node


def resources(settings: KubeletSettings, machine: Machine) -> dict[str, tuple[str, str]]:
    """Capacity and allocatable of what the kubelet itself counts."""
    return {
        "cpu": (str(machine.cpus), _milli(machine.cpus * 1000 - settings.reserved_cpu_milli)),
        "memory": (_ki(machine.memory_bytes), _ki(machine.memory_bytes - settings.reserved_memory_bytes)),
        "ephemeral-storage": (_ki(machine.disk_bytes), str(int(machine.disk_bytes * 0.9))),
        "pods": (str(settings.max_pods), str(settings.max_pods)),
    }


def node_status(
    settings: KubeletSettings,
    machine: Machine,
    runtime_version: str,
    trouble: str,
    pressure: Pressure,
    old: core.NodeStatus,
    now: datetime,
    network_trouble: str = "",
) -> core.NodeStatus:
    """The whole status; pure. Extended resources of the old capacity stay.

    ``trouble`` makes the node NotReady in the engine's words, ``network_trouble`` says why pods get no addresses.
    """
    status = core.NodeStatus()
    extended = {name: (amount.string, amount.string) for name, amount in old.capacity.items() if "/" in name}
    for name, (capacity, allocatable) in (extended | resources(settings, machine)).items():
        status.capacity[name].string = capacity
        status.allocatable[name].string = allocatable
    if settings.cloud_provider == EXTERNAL and old.addresses:
        status.addresses.extend(old.addresses)
    else:
        status.addresses.add(type="InternalIP", address=settings.node_ip)
        status.addresses.add(type="Hostname", address=settings.node_name)
    status.daemon_endpoints.kubelet_endpoint.port = settings.port
    info = status.node_info
    info.machine_id, info.system_uuid, info.boot_id = machine.machine_id, machine.system_uuid, machine.boot_id
    info.kernel_version, info.os_image = machine.kernel, machine.os_image
    info.container_runtime_version = runtime_version
    info.kubelet_version = info.kube_proxy_version = GIT_VERSION
    info.operating_system, info.architecture = "linux", machine.architecture
    own = ("NetworkUnavailable", "MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    status.conditions.extend(found for found in old.conditions if found.type not in own)
    routed = next((found for found in old.conditions if found.type == "NetworkUnavailable" and found.reason in ROUTE_REASONS), None)
    if routed is not None and not network_trouble:
        status.conditions.append(routed)
    else:
        _condition(
            status,
            old,
            now,
            "NetworkUnavailable",
            bool(network_trouble),
            "PodNetworkNotReady",
            "PodNetworkReady",
            network_trouble,
            "the node has a range of addresses for its pods",
        )
    _condition(
        status,
        old,
        now,
        "MemoryPressure",
        pressure.memory,
        "KubeletHasInsufficientMemory",
        "KubeletHasSufficientMemory",
        "kubelet has insufficient memory available",
        "kubelet has sufficient memory available",
    )
    _condition(
        status,
        old,
        now,
        "DiskPressure",
        pressure.disk,
        "KubeletHasDiskPressure",
        "KubeletHasNoDiskPressure",
        "kubelet has disk pressure",
        "kubelet has no disk pressure",
    )
    _condition(
        status,
        old,
        now,
        "PIDPressure",
        pressure.pids,
        "KubeletHasInsufficientPID",
        "KubeletHasSufficientPID",
        "kubelet has insufficient PID available",
        "kubelet has sufficient PID available",
    )
    _condition(
        status,
        old,
        now,
        "Ready",
        not trouble and not network_trouble,
        "KubeletReady",
        "KubeletNotReady",
        "kubelet is posting ready status",
        f"the pod network is not ready: {network_trouble}" if network_trouble else f"container runtime is down: {trouble}",
    )
    return status


def _condition(
    status: core.NodeStatus,
    old: core.NodeStatus,
    now: datetime,
    kind: str,
    value: bool,
    true_reason: str,
    false_reason: str,
    true_message: str,
    false_message: str,
) -> None:
    reason, message = (true_reason, true_message) if value else (false_reason, false_message)
    set_condition(status, kind, value, reason=reason, message=message, now=now, before=old)
    status.conditions[-1].last_heartbeat_time.CopyFrom(to_time(now))


def without_heartbeats(status: core.NodeStatus) -> core.NodeStatus:
    """For telling whether a status says anything new."""
    result = copy_of(status)
    for condition in result.conditions:
        condition.ClearField("last_heartbeat_time")
    return result


class NodeKeeper:
    """Keeps one Node and its Lease."""

    def __init__(
        self, client: Client, settings: KubeletSettings, machine: Machine, runtime: Runtime, recorder: EventRecorder, clock: Clock
    ) -> None:
        self._client = client
        self._settings = settings
        self._machine = machine
        self._runtime = runtime
        self._recorder = recorder
        self._clock = clock
        self._look = asyncio.Event()
        self._node: core.Node | None = None
        self._reported_at = float("-inf")
        self._images: list[core.ContainerImage] = []
        self._images_at = float("-inf")
        # The range of the pods' addresses; empty until it is known.
        self.pod_cidr = settings.pod_cidr
        self._network_trouble = "" if settings.pod_cidr else WAITING_FOR_CIDR
        self._given = asyncio.Event()
        runtime.on_change(lambda uid: self._look.set() if not uid else None)

    @property
    def registered(self) -> bool:
        return self._node is not None

    def view(self) -> NodeView:
        """What pods may learn of the node."""
        allocatable = {name: amount for name, (_, amount) in resources(self._settings, self._machine).items()}
        return NodeView(self._settings.node_name, self._settings.node_ip, allocatable)

    def learn(self, node: core.Node) -> None:
        """Takes the range that the Node has been given. It stays until the end of the process: the pods have addresses of it."""
        given = node.spec.pod_cidr
        if self._settings.pod_cidr or not given:
            return
        self.pod_cidr = self.pod_cidr or given
        trouble = "" if given == self.pod_cidr else MOVED_CIDR.format(given=given, used=self.pod_cidr)
        if trouble != self._network_trouble:
            self._network_trouble = trouble
            self._look.set()
        self._given.set()

    async def wait_pod_cidr(self) -> str:
        """The range, once the Node has one."""
        await self._given.wait()
        return self.pod_cidr

    async def run(self) -> None:
        """Registers, then reports, until cancelled; an API that is away is tried again."""
        failures = 0
        while True:
            self._look.clear()
            try:
                await self._report()
                failures = 0
            except StatusError as error:
                failures += 1
                self._node = None if error.reason == "NotFound" else self._node
                log.warning("node status not written", extra={"error": str(error)})
            period = min(RETRY_SECONDS * 2**failures, RETRY_LIMIT_SECONDS) if failures else self._settings.status_check_seconds
            try:
                async with asyncio.timeout(period):
                    await self._look.wait()
            except TimeoutError:
                pass

    async def renew_lease(self) -> None:
        """Renews the Lease until cancelled."""
        failures = 0
        while True:
            try:
                await self._renew()
                failures = 0
            except StatusError as error:
                failures += 1
                log.warning("lease not renewed", extra={"error": str(error)})
            period = min(RETRY_SECONDS * 2**failures, RETRY_LIMIT_SECONDS) if failures else self._settings.lease_renew_seconds
            await asyncio.sleep(period)

    async def _register(self) -> core.Node:
        desired = desired_node(self._settings, self._machine, await self._range_to_bring())
        desired.status.CopyFrom(self._status(core.NodeStatus()))
        try:
            node = await self._client.create(desired)
            self._recorder.event(node, "Normal", "Starting", "Starting kubelet.")
            return node
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        node = await self._client.get(core.Node, self._settings.node_name)
        changed = copy_of(node)
        changed.metadata.labels.update(desired.metadata.labels)
        if desired.spec.pod_cidr and not changed.spec.pod_cidr:
            changed.spec.pod_cidr = desired.spec.pod_cidr
            changed.spec.pod_cidrs.append(desired.spec.pod_cidr)
        return node if changed == node else await self._client.update(changed)

    async def _range_to_bring(self) -> str:
        """A range that was given once is kept when the Node is made anew, unless another node has it by now."""
        if self._settings.pod_cidr or not self.pod_cidr:
            return self.pod_cidr
        nodes = await self._client.list(core.Node)
        others = (node for node in nodes.items if node.metadata.name != self._settings.node_name)
        return "" if any(self.pod_cidr in (node.spec.pod_cidr, *node.spec.pod_cidrs) for node in others) else self.pod_cidr

    def _status(self, old: core.NodeStatus) -> core.NodeStatus:
        pressure = read_pressure(self._settings.data_dir)
        status = node_status(
            self._settings,
            self._machine,
            self._runtime.version,
            self._runtime.trouble,
            pressure,
            old,
            self._clock.now(),
            self._network_trouble,
        )
        status.images.extend(self._images)
        return status

    async def _report(self) -> None:
        node = self._node or await self._register()
        await self._look_at_images()
        status = self._status(node.status)
        loop_time = asyncio.get_running_loop().time()
        due = loop_time - self._reported_at >= self._settings.status_report_seconds
        if due or self._node is None or without_heartbeats(status) != without_heartbeats(node.status):
            node = await self._write(node, status)
            self._reported_at = loop_time
        self._node = node
        self.learn(node)

    async def _look_at_images(self) -> None:
        """Now and then: images come and go without a word from the engine, and the list is long."""
        loop_time = asyncio.get_running_loop().time()
        if loop_time - self._images_at < IMAGES_SECONDS or self._runtime.trouble:
            return
        try:
            async with asyncio.timeout(IMAGES_TIMEOUT_SECONDS):
                found = await self._runtime.images()
        except (RuntimeFailure, TimeoutError) as error:
            log.info("images not listed", extra={"error": str(error) or "the engine took too long"})
            return
        self._images_at = loop_time
        largest = sorted(found, key=lambda image: (-image.size_bytes, image.names))[:MAX_IMAGES]
        self._images = [core.ContainerImage(names=image.names[:MAX_IMAGE_NAMES], size_bytes=image.size_bytes) for image in largest]

    async def _write(self, node: core.Node, status: core.NodeStatus) -> core.Node:
        before = condition_status(node.status, "Ready")
        wanted = copy_of(node)
        wanted.status.CopyFrom(status)
        try:
            written = await self._client.update(wanted, subresource="status")
        except StatusError as error:
            if error.reason != "Conflict":
                raise
            fresh = await self._client.get(core.Node, self._settings.node_name)
            fresh.status.CopyFrom(self._status(fresh.status))
            written = await self._client.update(fresh, subresource="status")
        after = condition_status(written.status, "Ready")
        if before != after:
            reason = "NodeReady" if after == "True" else "NodeNotReady"
            self._recorder.event(written, "Normal", reason, f"Node {self._settings.node_name} status is now: {reason}")
        return written

    async def _renew(self) -> None:
        name, now = self._settings.node_name, self._clock.now()
        try:
            found = await self._client.get(coordination.Lease, name, LEASE_NAMESPACE)
        except StatusError as error:
            if error.reason != "NotFound":
                raise
            await self._client.create(self._lease(coordination.Lease(), now))
            return
        await self._client.update(self._lease(found, now))

    def _lease(self, lease: coordination.Lease, now: datetime) -> coordination.Lease:
        result = copy_of(lease)
        result.metadata.name, result.metadata.namespace = self._settings.node_name, LEASE_NAMESPACE
        result.spec.holder_identity = self._settings.node_name
        result.spec.lease_duration_seconds = self._settings.lease_duration_seconds
        result.spec.renew_time.seconds = int(now.timestamp())
        result.spec.renew_time.nanos = now.microsecond * 1000
        if self._node is not None and not result.metadata.owner_references:
            result.metadata.owner_references.add(api_version="v1", kind="Node", name=self._node.metadata.name, uid=self._node.metadata.uid)
        return result


def _ki(amount: int) -> str:
    return f"{amount // 1024}Ki"


def _milli(amount: int) -> str:
    return str(amount // 1000) if amount % 1000 == 0 else f"{amount}m"
