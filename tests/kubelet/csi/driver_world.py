"""A node with a real driver: a kubelet on a hollow runtime, whose pods have volumes that the driver mounts, and who attaches them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.client.backoff import Backoff
from knarr.objects.csi import attachment_name, volume_id
from services.kubelet.csi import client, drivers, mounts
from services.kubelet.node.mounts import mounts_below
from services.kubelet.pod import sandbox
from services.kubelet.runtime.port import Runtime
from services.kubelet.worker import actions, manager, orphans
from tests.kubelet.support import NODE, Cluster, FiledRuntime, make_pod, running
from tests.support.api import FaultyApi
from tests.support.csi.driver import NAME, CsiDriver, Registrar
from tests.support.csi.storage import Disk, Storage
from tests.support.signing import signing_keys

MACHINE = "machine-1"
needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, which needs root")
SOON = Backoff(first_seconds=0.02, limit_seconds=0.1)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds on a node takes moments."""
    monkeypatch.setattr(drivers, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(client, "CALL_SECONDS", 0.4)
    for module in (drivers, mounts, orphans):
        monkeypatch.setattr(module, "RETRY", SOON)
    monkeypatch.setattr(sandbox, "DRIVER_RETRY", SOON)
    monkeypatch.setattr(sandbox, "ATTACH_RETRY", SOON)
    monkeypatch.setattr(actions, "RELEASE_RETRY", SOON)
    monkeypatch.setattr(manager, "WORKER_RETRY", SOON)
    monkeypatch.setattr(actions, "RETRY_SECONDS", 0.05)


@dataclass
class World:
    """``api`` and ``driver`` outlive the kubelets."""

    place: Path
    api: FaultyApi
    driver: CsiDriver
    registrar: Registrar
    c: Cluster
    _kubelet: AsyncExitStack

    async def kill_kubelet(self) -> None:
        """In the middle of whatever it does."""
        await self._kubelet.aclose()

    def disk(self, name: str = "disk") -> Disk:
        return self.driver.storage.disks[f"vol-{name}"]

    def attach(self, name: str = "disk") -> None:
        """As the controllers do it."""
        disk = self.disk(name)
        disk.attached[MACHINE] = (b"", False)
        made = storage.VolumeAttachment()
        made.metadata.name = attachment_name(disk.id, NAME, NODE)
        made.spec.attacher, made.spec.node_name, made.spec.source.persistent_volume_name = NAME, NODE, name
        made.status.attached = True
        made.status.attachment_metadata["device"] = f"{disk.id}@{MACHINE}"
        self.api.seed(made)
        self.tell_node(name, attached=True)

    def tell_node(self, name: str = "disk", *, attached: bool) -> None:
        """The Node has a volume or not, as the controllers say it there."""
        (node,) = self.api.all(core.Node)
        handle = volume_id(NAME, self.disk(name).id)
        kept = [one for one in node.status.volumes_attached if one.name != handle]
        del node.status.volumes_attached[:]
        node.status.volumes_attached.extend([*kept, core.AttachedVolume(name=handle)] if attached else kept)
        self.api.seed(node)

    def target(self, pod: str = "web", name: str = "disk") -> Path:
        found = self.c.pod(pod)
        assert found is not None
        return self.place / "pods" / found.metadata.uid / "volumes" / "kubernetes.io~csi" / name / "mount"

    @property
    def records(self) -> list[Path]:
        """What the kubelet keeps of volumes."""
        return [Path(folder) / name for folder, _, names in os.walk(self.place) for name in names if name == "vol_data.json"]

    @property
    def is_clean(self) -> bool:
        """Nothing is mounted, staged, published or kept of any volume."""
        left = [disk for disk in self.driver.storage.disks.values() if disk.staged or disk.published]
        return not left and not self.records and not mounts_below(self.place)

    @property
    def in_use(self) -> list[str]:
        return list(self.api.all(core.Node)[0].status.volumes_in_use)

    async def end_pod(self, name: str = "web") -> None:
        await self.c.client.delete(core.Pod, name, "default", grace_period_seconds=0)
        await self.c.until(lambda: self.c.pod(name) is None)

    async def clean(self) -> None:
        """Until nothing is left, without the driver having been asked what it must not."""
        await self.c.until(lambda: self.is_clean)
        await self.c.until(lambda: not self.in_use)
        assert not self.driver.violations


def claim_and_volume(name: str = "disk", **source: Any) -> tuple[core.PersistentVolumeClaim, core.PersistentVolume]:
    """A claim called as its volume, bound."""
    claim, volume = core.PersistentVolumeClaim(), core.PersistentVolume()
    claim.metadata.name, claim.metadata.namespace, claim.metadata.uid = name, "default", f"uid-{name}"
    claim.spec.access_modes.append("ReadWriteOnce")
    claim.spec.resources.requests["storage"].string = "1Gi"
    claim.spec.volume_name, claim.status.phase = name, "Bound"
    claim.status.capacity["storage"].string = "1Gi"
    volume.metadata.name = name
    volume.spec.access_modes.append("ReadWriteOnce")
    volume.spec.capacity["storage"].string = "1Gi"
    volume.spec.persistent_volume_source.csi.CopyFrom(
        core.CSIPersistentVolumeSource(driver=NAME, volume_handle=f"vol-{name}", fs_type="ext4", **source)
    )
    reference = volume.spec.claim_ref
    reference.namespace, reference.name, reference.uid = "default", name, f"uid-{name}"
    return claim, volume


def using(name: str = "web", claim: str = "disk", **spec: Any) -> core.Pod:
    """A pod that mounts a claim's volume at /data."""
    pod = make_pod(name, **spec)
    pod.spec.volumes.add(name="data").volume_source.persistent_volume_claim.claim_name = claim
    pod.spec.containers[0].volume_mounts.add(name="data", mount_path="/data")
    return pod


def rules(**spec: Any) -> storage.CSIDriver:
    made = storage.CSIDriver(spec=storage.CSIDriverSpec(**spec))
    made.metadata.name = NAME
    return made


@asynccontextmanager
async def kubelet(place: Path, api: FaultyApi, runtime: Runtime | None = None) -> AsyncIterator[Cluster]:
    async with running(runtime or FiledRuntime("10.244.0.0/24"), place, api, status_check_seconds=0.05) as cluster:
        yield cluster


@asynccontextmanager
async def world(
    place: Path,
    *,
    disks: tuple[str, ...] = ("disk",),
    attached: bool = True,
    signs: bool = False,
    runtime: Runtime | None = None,
    **options: Any,
) -> AsyncIterator[World]:
    """A kubelet and a driver that is registered with it, and volumes that are there and attached. ``signs``: pods
    have accounts, and tokens of them."""
    api = FaultyApi(keys=signing_keys() if signs else None)
    driver = CsiDriver(Storage(place / "disks"), place / "plugins" / NAME / "csi.sock", node_id=MACHINE, **options)
    async with driver, Registrar.of(driver, place / "plugins_registry") as registrar, AsyncExitStack() as running_kubelet:
        cluster = await running_kubelet.enter_async_context(kubelet(place, api, runtime))
        made = World(place, api, driver, registrar, cluster, running_kubelet)
        for name in disks:
            driver.storage.make(name)
            api.seed(*claim_and_volume(name))
        await cluster.until(lambda: registrar.told)
        for name in disks if attached else ():
            made.attach(name)
        yield made


async def revive(driver: CsiDriver) -> None:
    """Starts a driver again whenever it has died, as its DaemonSet does. Until cancelled."""
    while True:
        await asyncio.sleep(0.02)
        if not driver.runs:
            await driver.start()
