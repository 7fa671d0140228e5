"""Registers the Node and keeps its status true."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from zlib import crc32

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.events import EventRecorder
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from knarr.objects.copies import copy_of
from services.kubelet.node.conditions import news
from services.kubelet.node.image_report import ImageReport
from services.kubelet.node.in_use import VolumesInUse
from services.kubelet.node.lease import patience_seconds
from services.kubelet.node.machine import Machine, Pressure
from services.kubelet.node.pod_range import PodRange
from services.kubelet.node.registration import desired_node, registered_again
from services.kubelet.node.status import NodeFacts, node_status, rebooted, without_heartbeats
from services.kubelet.runtime.port import Runtime
from services.kubelet.settings import KubeletSettings

log = logging.getLogger(__name__)


class NodeKeeper:
    """Keeps one Node."""

    def __init__(
        self,
        client: Client,
        settings: KubeletSettings,
        machine: Machine,
        runtime: Runtime,
        recorder: EventRecorder,
        clock: Clock,
        pressure: Callable[[], Pressure],
        trouble: Callable[[], str] = str,
    ) -> None:
        """``pressure`` answers what the machine is short of now, ``trouble`` why it takes no pods beside that; ``look`` is for when that
        changes."""
        self._pressure, self._trouble = pressure, trouble
        self._client = client
        self._settings = settings
        self._machine = machine
        self._runtime = runtime
        self._recorder = recorder
        self._clock = clock
        self.in_use = VolumesInUse()
        self._look = asyncio.Event()
        self._reported_at = float("-inf")
        self._start_told = False
        # What the last report was made from, and the Node it left.
        self._known: tuple[NodeFacts, core.Node] | None = None
        self.images = ImageReport(runtime)
        # As the API has it; None until it is registered.
        self.node: core.Node | None = None
        self.pod_range = PodRange(settings.pod_cidr, self._look.set)
        self.look = self._look.set
        self.in_use.on_change(self.look)
        runtime.on_change(lambda uid: self._look.set() if not uid else None)

    async def run(self) -> None:
        """Registers, then reports, until cancelled; an API that is away is tried again."""
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            self._look.clear()
            begun = loop.time()
            try:
                await self._report()
                failures = 0
            except StatusError as error:
                failures += 1
                self.node = None if isinstance(error, NotFound) else self.node
                log.warning("node status not written", extra={"error": str(error)})
            period = self._settings.status_check_seconds
            if failures:
                period = patience_seconds(failures, loop.time() - begun, self._settings.lease_renew_seconds)
            try:
                async with asyncio.timeout(period):
                    await self._look.wait()
            except TimeoutError:
                pass

    def heard(self, node: core.Node | None) -> None:
        """What the API has of the node; None: it was deleted, and is registered anew. What others have written into its status is the
        ground of the next report."""
        if self.node is None or (node is not None and not _is_newer(node, self.node)):
            return
        if node is None or without_heartbeats(node.status) != without_heartbeats(self.node.status):
            self.look()
        self.node = node

    async def _report(self) -> None:
        node = self.node or await self._register()
        await self.images.look()
        facts = self._facts()
        loop_time = asyncio.get_running_loop().time()
        due = loop_time - self._reported_at >= self._settings.status_report_seconds
        if not due and self._known is not None and self._known[1] is self.node and self._known[0] == facts:
            # The same again would come of it: with many nodes in a process that is most of what they do.
            return
        status = node_status(facts, node.status)
        if due or without_heartbeats(status) != without_heartbeats(node.status):
            node = await self._write(node, status)
            self._reported_at = loop_time if due else self._spread(loop_time)
        self.node, self._known = node, (facts, node)
        self.in_use.report(node.status.volumes_in_use)
        self.pod_range.learn(node)

    async def _register(self) -> core.Node:
        # Given once, the range is wished for when the Node is made anew: the pods have addresses of it.
        desired = desired_node(self._settings, self._machine, self.pod_range.cidr)
        desired.status.CopyFrom(self._status(core.NodeStatus()))
        try:
            node = await self._client.create(desired)
            # It brought its status along: the same is not written again.
            self._reported_at = self._spread(asyncio.get_running_loop().time())
        except AlreadyExists:
            self._reported_at = float("-inf")
            node = await self._client.get(core.Node, self._settings.node_name)
            changed = registered_again(node, desired)
            node = node if changed == node else await self._client.update(changed)
        if not self._start_told:
            self._start_told = True
            self._recorder.event(node, "Normal", "Starting", "Starting kubelet.")
        return node

    def _spread(self, loop_time: float) -> float:
        """When a report that was not due counts as made: the next one falls at another time for each node. Nodes that came or changed
        together would all report together for ever."""
        share = crc32(self._settings.node_name.encode()) / 2**32
        return loop_time + (share - 0.5) * self._settings.status_report_seconds

    def _status(self, old: core.NodeStatus) -> core.NodeStatus:
        return node_status(self._facts(), old)

    def _facts(self) -> NodeFacts:
        return NodeFacts(
            settings=self._settings,
            machine=self._machine,
            runtime_version=self._runtime.version,
            runtime_handlers=self._runtime.handlers,
            strict_groups=self._runtime.strict_groups,
            engine_trouble=self._runtime.trouble,
            network_trouble=self.pod_range.trouble,
            pressure=self._pressure(),
            images=self.images.images,
            now=self._clock.now(),
            volumes_in_use=self.in_use.names,
            own_trouble=self._trouble(),
        )

    async def _write(self, node: core.Node, status: core.NodeStatus) -> core.Node:
        wanted = copy_of(node)
        wanted.status.CopyFrom(status)
        try:
            written = await self._client.update(wanted, subresource="status")
        except Conflict:
            fresh = await self._client.get(core.Node, self._settings.node_name)
            fresh.status.CopyFrom(self._status(fresh.status))
            written = await self._client.update(fresh, subresource="status")
        name = self._settings.node_name
        if boot := rebooted(node.status, written.status):
            self._recorder.event(written, "Warning", "Rebooted", f"Node {name} has been rebooted, boot id: {boot}")
        for reason in news(node.status, written.status):
            self._recorder.event(written, "Normal", reason, f"Node {name} status is now: {reason}")
        return written


def _is_newer(node: core.Node, known: core.Node) -> bool:
    """Whether it is the same Node, later; one that was made anew is, too."""
    return int(node.metadata.resource_version or 0) > int(known.metadata.resource_version or 0)
