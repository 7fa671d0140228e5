"""Many nodes in one process, whose containers are simulated.

Each is a whole kubelet, but for a machine: it registers, heartbeats, runs pods, and tells what they use. They have one port and one
address, by which the API server reaches them all; it says of which node it speaks. One that fails is started again, the others go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import grpc.aio

from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.api.kubelet.v1 import kubelet_service_pb2_grpc
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.machinery.errors import not_found
from knarr.objects.hollow import node_name
from knarr.service.access import Right
from knarr.service.component import Component
from knarr.service.node_calls import node_of
from knarr.service.tasks import cancel
from services.kubelet.component import RIGHTS, Kubelet
from services.kubelet.cut_client import CutClient
from services.kubelet.hollow_faults import Condition, HollowFaults
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.servicer import KubeletServicer
from services.kubelet.settings import KubeletSettings

log = logging.getLogger(__name__)

# So many register at once: each tells all who follow nodes of itself, several times.
BEGIN_AT_ONCE = 32
POLL_SECONDS = 0.05
AGAIN_SECONDS = 1.0
# Nothing of a simulated machine changes by itself; what does change is looked at when it does.
STATUS_CHECK_SECONDS = 10.0
USUAL, NONE = Condition(), HollowFaults()


@dataclass(frozen=True, slots=True)
class HollowNodesSettings:
    """``node`` is what the nodes have in common: its data directory holds theirs, its name is nobody's."""

    node: KubeletSettings
    # The numbers of the nodes, which name them.
    numbers: Collection[int]
    # By number: the range of a node's pod addresses, CIDR.
    pod_cidr: Callable[[int], str]
    faults: HollowFaults = NONE

    def of(self, number: int) -> KubeletSettings:
        """What the kubelet of one node is told."""
        name = node_name(number)
        check = max(self.node.status_check_seconds, STATUS_CHECK_SECONDS)
        return replace(
            self.node,
            node_name=name,
            data_dir=self.node.data_dir / name,
            pod_cidr=self.pod_cidr(number),
            status_check_seconds=check,
        )


class HollowNodes(Component):
    """``client_of`` gives the API as a node sees it, by the node's name."""

    name: ClassVar[str] = "hollow"

    def __init__(self, client_of: Callable[[str], Client], settings: HollowNodesSettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._client_of, self._settings, self._clock = client_of, settings, clock
        self.nodes: dict[str, HollowNode] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self.become(settings.numbers)
        self._waiting = dict(self.nodes)
        self._begun = asyncio.Semaphore(BEGIN_AT_ONCE)

    def register(self, server: grpc.aio.Server) -> list[str]:
        kubelet_service_pb2_grpc.add_KubeletServiceServicer_to_server(NodesServicer(lambda: self.nodes), server)
        return [pb.DESCRIPTOR.services_by_name["KubeletService"].full_name]

    def right(self, method: str) -> Right:
        """As of a kubelet; of all nodes, for they are one process."""
        verb, subresource = RIGHTS.get(method.rpartition("/")[2], ("create", "proxy"))
        return Right(verb, resource="nodes", subresource=subresource)

    def become(self, numbers: Collection[int]) -> None:
        """The nodes are those of these numbers from now on: what is new begins, what is there no more ends without a word to anybody."""
        wanted = {node_name(number): number for number in numbers}
        self.nodes = {name: self.nodes.get(name) or HollowNode(self._make, number, USUAL) for name, number in wanted.items()}
        self._changed.set()

    async def run(self) -> None:
        faults = asyncio.create_task(self._befall(), name="hollow/faults")
        try:
            while True:
                self._changed.clear()
                gone = [self._tasks.pop(name) for name in list(self._tasks) if name not in self.nodes]
                for name, node in self.nodes.items():
                    if name not in self._tasks:
                        self._tasks[name] = asyncio.create_task(self._begin(node), name=f"hollow/{name}")
                await cancel(gone)
                await self._until_changed(faults)
        finally:
            await cancel([faults, *self._tasks.values()])

    async def _until_changed(self, faults: asyncio.Task[None]) -> None:
        """Raises what one of them ends with, which none should."""
        changed = asyncio.create_task(self._changed.wait(), name="hollow/changed")
        try:
            await asyncio.wait([changed, faults, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
            for task in (faults, *self._tasks.values()):
                if task.done():
                    task.result()
        finally:
            await cancel([changed])

    @property
    def ready(self) -> bool:
        """Whether all nodes have been ready once; they fail and come by themselves after that."""
        for name, node in list(self._waiting.items()):
            # One that was taken away is waited for no more.
            if not node.ready and self.nodes.get(name) is node:
                return False
            del self._waiting[name]
        return True

    def _make(self, node: HollowNode) -> tuple[Kubelet, HollowRuntime]:
        settings = self._settings.of(node.number)
        runtime = HollowRuntime(settings.pod_cidr, node.condition.runtime, self._clock)
        runtime.missing_images = set(node.condition.missing_images)
        client = self._client_of(node.name)
        if self._settings.faults.faults:
            client = CutClient(client, lambda: node.condition.cut_off)
        return Kubelet(client, settings, runtime, self._clock), runtime

    async def _befall(self) -> None:
        """Lets each node have its faults in their time."""
        faults, loop = self._settings.faults, asyncio.get_running_loop()
        while not self.ready:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        began = loop.time()
        for moment in faults.moments:
            await asyncio.sleep(max(began + moment - loop.time(), 0))
            for node in self.nodes.values():
                node.become(faults.condition(node.number, moment, USUAL))
        await asyncio.Event().wait()

    async def _begin(self, node: HollowNode) -> None:
        """A few at a time."""
        async with self._begun:
            running = asyncio.create_task(node.run(), name=f"hollow/{node.name}/kubelet")
            try:
                while not node.ready and not running.done():  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)
            except asyncio.CancelledError:
                await cancel([running])
                raise
        try:
            await running
        finally:
            await cancel([running])


class HollowNode:
    """One of them: its kubelet, made anew when it fails, and not there while its machine is off."""

    def __init__(
        self, make: Callable[[HollowNode], tuple[Kubelet, HollowRuntime]], number: int, condition: Condition, name: str = ""
    ) -> None:
        """``name``: by default the one that its number gives."""
        self.name, self.number, self.condition = name or node_name(number), number, condition
        self._make = make
        self.kubelet: Kubelet | None = None
        self._runtime: HollowRuntime | None = None
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        return self.kubelet is not None and self.kubelet.ready

    def become(self, condition: Condition) -> None:
        """What befalls it, from now on."""
        if condition == self.condition:
            return
        log.info("a simulated node changes", extra={"node": self.name, "down": condition.down, "cut_off": condition.cut_off})
        self.condition = condition
        if self._runtime is not None:
            self._runtime.settings, self._runtime.missing_images = condition.runtime, set(condition.missing_images)
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            if self.condition.down:
                await self._changed.wait()
                continue
            self.kubelet, self._runtime = self._make(self)
            running = asyncio.create_task(self.kubelet.run(), name=f"hollow/{self.name}/running")
            try:
                await self._until_down(running)
            except Exception:
                log.exception("a node failed; starting it again", extra={"node": self.name, "seconds": AGAIN_SECONDS})
                await asyncio.sleep(AGAIN_SECONDS)
            finally:
                # A machine that is off has no containers either.
                await cancel([running])
                self.kubelet = self._runtime = None

    async def _until_down(self, running: asyncio.Task[None]) -> None:
        """Raises what the kubelet ends with."""
        while not self.condition.down:
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            try:
                await asyncio.wait([running, changed], return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            if running.done():
                running.result()
                raise RuntimeError(f"the kubelet of {self.name} ended although it should run for ever")


class NodesServicer(kubelet_service_pb2_grpc.KubeletServiceServicer):
    """Lets each node answer what is asked of it. Raises NotFound for one that is not here, or is not there now."""

    def __init__(self, nodes: Callable[[], Mapping[str, HollowNode]]) -> None:
        """``nodes`` are those that there are when it is asked."""
        self._nodes = nodes

    def _of(self, context: Any) -> KubeletServicer:
        name = node_of(context.invocation_metadata())
        node = self._nodes().get(name)
        if node is None or node.kubelet is None:
            raise not_found("nodes", name)
        return node.kubelet.servicer

    async def ListPods(self, request: pb.ListPodsRequest, context: Any) -> pb.ListPodsResponse:
        return await self._of(context).ListPods(request, context)

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:
        return await self._of(context).GetStats(request, context)

    async def Logs(self, request: pb.LogsRequest, context: Any) -> AsyncIterator[pb.LogsResponse]:
        async with aclosing(self._of(context).Logs(request, context)) as found:  # type: ignore[type-var]
            async for response in found:
                yield response

    async def Exec(self, requests: AsyncIterator[pb.ExecRequest], context: Any) -> AsyncIterator[pb.ExecResponse]:
        async with aclosing(self._of(context).Exec(requests, context)) as found:  # type: ignore[type-var]
            async for response in found:
                yield response

    async def Attach(self, requests: AsyncIterator[pb.AttachRequest], context: Any) -> AsyncIterator[pb.AttachResponse]:
        async with aclosing(self._of(context).Attach(requests, context)) as found:  # type: ignore[type-var]
            async for response in found:
                yield response

    async def PortForward(self, requests: AsyncIterator[pb.PortForwardRequest], context: Any) -> AsyncIterator[pb.PortForwardResponse]:
        async with aclosing(self._of(context).PortForward(requests, context)) as found:  # type: ignore[type-var]
            async for response in found:
                yield response
