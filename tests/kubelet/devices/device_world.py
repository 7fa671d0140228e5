"""A node with a driver of devices: a kubelet on a hollow runtime, whose pods have claims to what the driver makes ready."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from services.kubelet.devices import drivers as device_drivers
from services.kubelet.devices.records import ClaimRecord, read_records
from services.kubelet.runtime.plan import ContainerPlan
from services.kubelet.runtime.port import Container, Runtime
from tests.kubelet.csi import driver_world
from tests.kubelet.support import Cluster, FiledRuntime, make_pod, running
from tests.support.api import FaultyApi
from tests.support.csi.driver import Registrar
from tests.support.dra.driver import NAME, V1, DeviceDriver


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds on a node takes moments."""
    driver_world.hurry(monkeypatch)
    monkeypatch.setattr(device_drivers, "CALL_SECONDS", 0.4)


class KeptPlans(FiledRuntime):
    """What containers were to be, by their names, the latest."""

    def __init__(self) -> None:
        super().__init__("10.244.0.0/24")
        self.plans: dict[tuple[str, str], ContainerPlan] = {}

    async def create_container(self, plan: ContainerPlan) -> Container:
        self.plans[plan.pod.name, plan.name] = plan
        return await super().create_container(plan)


@dataclass
class World:
    """``api`` and ``driver`` outlive the kubelets."""

    place: Path
    api: FaultyApi
    driver: DeviceDriver
    registrar: Registrar
    runtime: Any
    c: Cluster
    _kubelet: AsyncExitStack

    async def kill_kubelet(self) -> None:
        """In the middle of whatever it does."""
        await self._kubelet.aclose()

    def plan(self, pod: str = "web", name: str = "app") -> ContainerPlan:
        """What a container was to be on the hollow runtime, the latest."""
        plans: dict[tuple[str, str], ContainerPlan] = self.runtime.plans
        return plans[pod, name]

    @property
    def records(self) -> list[ClaimRecord]:
        return read_records(self.place)

    async def claim(self, name: str = "card", *pods: str, drivers: tuple[str, ...] = (NAME,)) -> resource.ResourceClaim:
        """Has one with devices, kept for pods that are there."""
        made = resource.ResourceClaim()
        made.metadata.name, made.metadata.namespace, made.metadata.uid = name, "default", f"uid-{name}"
        made.spec.devices.requests.add(name="one").exactly.device_class_name = "cards"
        for driver in drivers:
            made.status.allocation.devices.results.add(request="one", driver=driver, pool="node-1", device="card-0")
        for pod in pods:
            made.status.reserved_for.add(resource="pods", name=pod, uid=f"uid-{pod}")
        self.api.seed(made)
        return made

    async def end_pod(self, name: str = "web") -> None:
        await self.c.client.delete(core.Pod, name, "default", grace_period_seconds=0)
        await self.c.until(lambda: self.c.pod(name) is None)

    async def clean(self) -> None:
        """Until nothing is ready at the driver, and nothing is kept."""
        await self.c.until(lambda: not self.driver.ready and not self.records)


def using(name: str = "web", *claims: str, request: str = "", **spec: Any) -> core.Pod:
    """A pod whose container uses claims; its uid is ``uid-`` and its name."""
    pod = make_pod(name, **spec)
    pod.metadata.uid = f"uid-{name}"
    for claim in claims or ("card",):
        pod.spec.resource_claims.add(name=claim, resource_claim_name=claim)
        pod.spec.containers[0].resources.claims.add(name=claim, request=request)
    return pod


def describe(folder: Path, *names: str, **edits: Any) -> None:
    """The driver's file of devices that are called so: each a variable that names it, and a device."""
    folder.mkdir(exist_ok=True)
    devices = [
        {
            "name": name,
            "containerEdits": {
                "env": [f"CARD_{name.upper()}=yes"],
                "deviceNodes": [{"path": f"/dev/{name}", "hostPath": "/dev/null"}],
            },
        }
        for name in names
    ]
    said = {"cdiVersion": "0.6.0", "kind": "example.com/card", "devices": devices, "containerEdits": edits}
    (folder / "cards.json").write_text(json.dumps(said))


@asynccontextmanager
async def kubelet(place: Path, api: FaultyApi, runtime: Runtime) -> AsyncIterator[Cluster]:
    folders = (place / "no-cdi", place / "cdi")
    async with running(runtime, place, api, status_check_seconds=0.05, cdi_folders=folders) as cluster:
        yield cluster


@asynccontextmanager
async def world(place: Path, *, service: str = V1, registered: bool = True, runtime: Runtime | None = None) -> AsyncIterator[World]:
    """A kubelet and a driver that is registered with it, and the file of its devices ``card`` and ``other``."""
    api, runtime = FaultyApi(), runtime or KeptPlans()
    driver = DeviceDriver(place / "plugins" / NAME / "dra.sock", service=service)
    registrar = Registrar(place / "plugins_registry", NAME, str(driver.socket), "DRAPlugin", (service,))
    describe(place / "cdi", "card", "other")
    async with driver, AsyncExitStack() as all_of_it:
        if registered:
            await all_of_it.enter_async_context(registrar)
        else:
            all_of_it.push_async_callback(registrar.stop)
        running_kubelet = await all_of_it.enter_async_context(AsyncExitStack())
        cluster = await running_kubelet.enter_async_context(kubelet(place, api, runtime))
        made = World(place, api, driver, registrar, runtime, cluster, running_kubelet)
        if registered:
            await cluster.until(lambda: registrar.told)
        yield made
