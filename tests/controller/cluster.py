"""A small cluster in memory: the controller manager, and a kubelet and scheduler of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.client.clock import Clock
from knarr.client.informer import Informers
from knarr.client.reconciler import Reconciler
from knarr.machinery.times import to_time
from knarr.objects.conditions import set_condition
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.node_selection import node_named_by
from knarr.objects.pods import is_active, is_finished, is_ready
from services.apiserver.tokens.keys import SigningKeys
from services.controller.catalog import CONTROLLERS
from services.controller.component import ControllerManager
from services.controller.controller import Controller
from services.controller.csi.client import SocketDriver
from services.controller.csi.driver import Driver
from services.controller.settings import ControllerSettings
from tests.support.api import FaultyApi, FaultyClient
from tests.support.rights import CONTROLLER
from tests.support.virtual_time import VirtualClock

M = TypeVar("M", bound=Message)

SETTINGS = ControllerSettings()


@dataclass
class FakeKubelet:
    """Binds each pod to the node that it names, else to ``node``; makes it ready after a while and ends it when it is deleted.

    ``ready_seconds`` answers how long a pod takes to become ready; None means never. ``ending`` answers how a pod ends by itself
    instead: Succeeded or Failed; None means that it goes on.
    """

    client: Client
    node: str = "node-1"
    ready_seconds: Callable[[core.Pod], float | None] = lambda pod: 0.1
    ending: Callable[[core.Pod], str | None] = lambda pod: None
    stop_seconds: float = 0.1
    schedules: bool = True
    clock: Clock = field(default_factory=VirtualClock)
    _addresses: int = 0
    _started: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        informers = Informers(self.client)
        pods = informers.get(core.Pod)
        queue = Reconciler("kubelet", lambda key: self._sync(pods.store.get(*key)), workers=8)
        pods.on_change(lambda old, new: queue.enqueue(key_of(new)) if new is not None else None)
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run())
            group.create_task(queue.run())

    async def _sync(self, pod: core.Pod | None) -> None:
        if pod is None:
            return
        if is_deleting(pod):
            await asyncio.sleep(self.stop_seconds)
            if pod.metadata.finalizers:
                await self._tell_end(pod)
            await self.client.delete(core.Pod, pod.metadata.name, pod.metadata.namespace, grace_period_seconds=0, uid=pod.metadata.uid)
        elif not pod.spec.node_name:
            if not self.schedules:
                return
            binding = core.Binding()
            binding.metadata.name, binding.metadata.namespace = pod.metadata.name, pod.metadata.namespace
            binding.target.kind, binding.target.name = "Node", node_named_by(pod.spec) or self.node
            await self.client.create(binding, subresource="binding", name=pod.metadata.name)
        elif pod.status.phase == "Pending":
            await self._start(pod)

    async def _tell_end(self, pod: core.Pod) -> None:
        """Of a pod that stays while somebody still wants to know how it ended."""
        live = await self.client.get(core.Pod, pod.metadata.name, pod.metadata.namespace)
        if not is_finished(live):
            live.status.phase = "Failed"
            await self.client.update(live, subresource="status")

    async def _start(self, pod: core.Pod) -> None:
        seconds = self.ready_seconds(pod)
        if seconds is None:
            return
        await asyncio.sleep(seconds)
        live = await self.client.get(core.Pod, pod.metadata.name, pod.metadata.namespace)
        if is_deleting(live) or live.status.phase != "Pending":
            return
        self._addresses += 1
        if phase := self.ending(live):
            live.status.phase = phase
            await self.client.update(live, subresource="status")
            return
        live.status.phase = "Running"
        live.status.start_time.CopyFrom(to_time(self.clock.now()))
        for container in live.spec.containers:
            live.status.container_statuses.add(name=container.name, ready=True).state.running.started_at.CopyFrom(live.status.start_time)
        live.status.pod_ip = f"10.244.{self._addresses // 256}.{self._addresses % 256}"
        live.status.pod_ips.add(ip=live.status.pod_ip)
        set_condition(live.status, "Ready", "True", now=self.clock.now())
        await self.client.update(live, subresource="status")


@dataclass
class Cluster:
    api: FaultyApi
    client: FaultyClient
    kubelet: FakeKubelet
    manager: ControllerManager
    clock: VirtualClock

    def active_pods(self) -> list[core.Pod]:
        return [pod for pod in self.api.all(core.Pod) if is_active(pod)]

    def ready_pods(self) -> list[core.Pod]:
        return [pod for pod in self.active_pods() if is_ready(pod)]

    def deployment(self, name: str = "web") -> apps.Deployment:
        return next(found for found in self.api.all(apps.Deployment) if found.metadata.name == name)

    def replica_sets(self) -> list[apps.ReplicaSet]:
        found = self.api.all(apps.ReplicaSet)
        return sorted(found, key=lambda rs: int(rs.metadata.annotations.get("deployment.kubernetes.io/revision", "0")))

    def events(self, reason: str) -> list[str]:
        return [event.message for event in self.api.all(core.Event) if event.reason == reason]

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Waits for a condition in virtual time."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def edit(
        self, message: type[M], name: str, change: Callable[[M], object], namespace: str = "default", subresource: str = ""
    ) -> M:
        obj = await self.client.get(message, name, namespace)
        change(obj)
        return await self.client.update(obj, subresource=subresource)


@asynccontextmanager
async def cluster(
    *,
    kubelet: bool = True,
    controllers: Sequence[type[Controller]] = CONTROLLERS,
    keys: SigningKeys | None = None,
    connect: Callable[[str, str, float], Driver] = SocketDriver,
    found: Sequence[Message] = (),
    **settings: Any,
) -> AsyncIterator[Cluster]:
    """Runs the controllers on a fresh API server in memory, on the virtual loop; with ``keys`` it issues tokens.

    ``connect``: how drivers of volumes are reached. ``found``: what is there before the controllers are.
    """
    clock = VirtualClock()
    api = FaultyApi(clock, keys=keys)
    api.seed(*found)
    client = api.client()
    manager = ControllerManager(
        api.client(CONTROLLER), replace(SETTINGS, **settings), clock=clock, controllers=controllers, connect=connect
    )
    fake = FakeKubelet(api.client())
    tasks = [asyncio.create_task(manager.run())]
    if kubelet:
        tasks.append(asyncio.create_task(fake.run()))
    try:
        async with asyncio.timeout(5):
            while not manager.ready:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield Cluster(api, client, fake, manager, clock)
    finally:
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.wait(tasks, timeout=10)


def key(name: str, namespace: str = "default") -> Key:
    return Key(namespace, name)
