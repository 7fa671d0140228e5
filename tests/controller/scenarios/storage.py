"""Claims and volumes."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects import local_path
from knarr.objects.binding import PROVISIONER, SELECTED_NODE
from tests.controller.disks import disk, driver, held, id_of, machine, writer
from tests.controller.objects import (
    claim,
    node,
    pod,
    volume,
    with_scratch,
)
from tests.controller.scenarios.services import running
from tests.controller.scenarios.steps import step
from tests.controller.storage import asking, sized, storage_class
from tests.support.mishaps import World


async def claims(w: World) -> None:
    """Of three claims that are deleted one is free, one is used until its pod ends, and one is of before there was protection."""
    user = running("user", "10.244.0.1")
    user.spec.volumes.add(name="data").volume_source.persistent_volume_claim.claim_name = "used"
    old = claim("old")
    old.metadata.finalizers.append("example.com/hold")
    w.api.seed(user, old)
    for name in ("free", "used"):
        await w.client.create(claim(name))
    await step()
    for name in ("free", "used", "old"):
        await w.client.delete(core.PersistentVolumeClaim, name, "default")
    await step()
    await w.client.delete(core.Pod, "user", "default", grace_period_seconds=0)
    await step()


async def ephemeral_volumes(w: World) -> None:
    """Of two pods one goes; the claim of the other is deleted."""
    w.api.seed(with_scratch(pod("stays")), with_scratch(pod("goes")))
    await step()
    await w.client.delete(core.Pod, "goes", "default", grace_period_seconds=0)
    lost = await w.client.get(core.PersistentVolumeClaim, "stays-scratch", "default")
    await w.client.delete(core.PersistentVolumeClaim, "stays-scratch", "default")
    await w.edit(core.PersistentVolumeClaim, "stays-scratch", lambda found: found.metadata.ClearField("finalizers"))
    await step()
    found = await w.client.get(core.PersistentVolumeClaim, "stays-scratch", "default")
    assert found.metadata.uid != lost.metadata.uid


async def volumes(w: World) -> None:
    """Of three volumes that are deleted one is bound for a while; one was made before there was protection."""
    w.api.seed(volume("old"))
    for name in ("free", "bound"):
        await w.client.create(volume(name))
    await w.edit(core.PersistentVolume, "bound", lambda found: setattr(found.status, "phase", "Bound"), "", "status")
    await step()
    for name in ("free", "bound", "old"):
        await w.client.delete(core.PersistentVolume, name)
    await step()
    await w.edit(core.PersistentVolume, "bound", lambda found: setattr(found.status, "phase", "Released"), "", "status")
    await step()


async def bindings(w: World) -> None:
    """The best fit, both ways of choosing beforehand, one that suits nobody, one that is provided for elsewhere, one that waits; claims and
    a volume go."""
    await w.client.create(storage_class("disks"))
    await w.client.create(storage_class("late", waits=True))
    for made in (
        sized("small", "1Gi"),
        sized("middle", "5Gi", policy="Delete"),
        sized("kept", "9Gi", kept_for="keeper"),
        sized("late", "5Gi", of="late"),
        sized("named", "9Gi"),
    ):
        await w.client.create(made)
    await step()
    for wanted in (
        asking("fitting", "3Gi"),
        asking("keeper", "1Gi"),
        asking("choosing", "8Gi", named="named"),
        asking("greedy", "50Gi"),
        asking("elsewhere", "1Gi", of="disks"),
        asking("waiting", "1Gi", of="late"),
    ):
        await w.client.create(wanted)
    await step()
    await w.client.create(sized("huge", "100Gi"))
    await w.client.delete(core.PersistentVolumeClaim, "fitting", "default")
    await w.client.delete(core.PersistentVolume, "kept")
    await step()
    await w.edit(core.PersistentVolume, "kept", lambda found: found.metadata.finalizers.clear(), "")
    await w.client.delete(core.PersistentVolumeClaim, "choosing", "default")
    await step()
    await w.edit(core.PersistentVolume, "named", lambda found: found.spec.ClearField("claim_ref"), "")
    await step()


def every_volume_has_one_claim(w: World) -> None:
    """And no two claims have one volume."""
    named = [found.spec.volume_name for found in w.api.all(core.PersistentVolumeClaim) if found.spec.volume_name]
    assert len(named) == len(set(named)), named
    for found in w.api.all(core.PersistentVolumeClaim):
        if found.status.phase == "Bound":
            held = next(one for one in w.api.all(core.PersistentVolume) if one.metadata.name == found.spec.volume_name)
            assert held.spec.claim_ref.uid == found.metadata.uid, (held.metadata.name, found.metadata.name)


async def folders(w: World) -> None:
    """A volume for a claim whose pod has a node; it grows, and goes with the claim. Another one's node goes; a third is refused."""
    for name in ("node-1", "node-2"):
        made = node(name)
        made.metadata.annotations[local_path.FOLDERS] = "/srv/knarr"
        await w.client.create(made)
    await w.client.create(local_path.default_class())
    for name, chosen in (("data", "node-1"), ("lost", "node-2"), ("shared", "node-1")):
        wanted = asking(name, "1Gi", of=local_path.CLASS)
        wanted.metadata.annotations.update({PROVISIONER: local_path.PROVISIONER, SELECTED_NODE: chosen})
        if name == "shared":
            wanted.spec.access_modes[:] = ["ReadWriteMany"]
        await w.client.create(wanted)
    await step()
    await w.edit(core.PersistentVolumeClaim, "data", lambda found: found.spec.resources.requests["storage"].CopyFrom(amount_of("2Gi")))
    await step()
    for name in ("data", "lost"):
        await w.client.delete(core.PersistentVolumeClaim, name, "default")
    await w.client.delete(core.Node, "node-2")
    await step()


async def attachments(w: World) -> None:
    """A volume that is for one node follows its pods to another one, as its node lets go of it; one is for many. A node falls silent."""
    shared = disk("shared", modes=["ReadWriteMany"], claim="files")
    w.api.seed(machine("node-1"), machine("node-2"), driver(), disk(), held(), shared, held("files", "shared"))
    w.api.seed(writer(), writer("reader", "node-1", claim="files"), writer("other", "node-2", claim="files"))
    await step()
    await w.edit(core.Node, "node-1", lambda found: found.status.volumes_in_use.append(id_of(disk())), "", "status")
    w.api.seed(writer("late", "node-2"))
    await w.client.delete(core.Pod, "writer", "default", grace_period_seconds=0)
    await step()
    await w.edit(core.Node, "node-1", lambda found: found.status.volumes_in_use.clear(), "", "status")
    await step()
    await w.edit(core.Node, "node-2", lambda found: found.status.volumes_in_use.append(id_of(disk())), "", "status")
    await w.edit(core.Node, "node-2", lambda found: setattr(found.status.conditions[0], "status", "Unknown"), "", "status")
    await w.client.delete(core.Pod, "late", "default", grace_period_seconds=0)
    await w.client.delete(core.Pod, "reader", "default", grace_period_seconds=0)
    # A manager that died has no memory of when it began to wait.
    await step(14 * 60.0)


def amount_of(text: str) -> meta.Quantity:
    return meta.Quantity(string=text)
