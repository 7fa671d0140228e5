"""Drivers make a volume for each claim, once, and remove it with its claim: what they are asked, what objects say, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import volume_pb2 as csi
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.binding import PROVISIONED_BY, SELECTED_NODE
from knarr.objects.csi import Mode
from services.controller.controllers.csiprovisioner.controller import CsiProvisionerController
from services.controller.controllers.csiprovisioner.decide import CLONING, DELETION_SECRET, FINALIZER, IN_PROGRESS
from services.controller.controllers.persistentvolumebinder.controller import PersistentVolumeBinder
from services.controller.controllers.pvcprotection.controller import ClaimProtectionController
from services.controller.controllers.pvprotection.controller import VolumeProtectionController
from services.controller.csi.capabilities import Refused, access_mode
from services.controller.csi.driver import RPC, Abilities, DriverError
from services.controller.csi.secrets import reference
from services.controller.csi.topology import Elsewhere, Places, requirement
from tests.controller.cluster import Cluster
from tests.controller.disks import DRIVER, disk, held, machine
from tests.controller.drivers import Rack, disks_class, driven, wanting
from tests.support.csi import controller as served
from tests.support.virtual_time import virtual_time

CONTROLLERS = (CsiProvisionerController, PersistentVolumeBinder, ClaimProtectionController, VolumeProtectionController)
CODE = grpc.StatusCode


def claims(c: Cluster) -> list[core.PersistentVolumeClaim]:
    return c.api.all(core.PersistentVolumeClaim)


def volumes(c: Cluster) -> list[core.PersistentVolume]:
    return c.api.all(core.PersistentVolume)


async def bound(c: Cluster, name: str = "data") -> core.PersistentVolume:
    """The volume of a claim that is made and bound."""
    await c.client.create(wanting(name))
    await c.until(lambda: any(found.status.phase == "Bound" and found.metadata.name == name for found in claims(c)))
    return next(found for found in volumes(c) if found.spec.claim_ref.name == name)


@virtual_time
async def test_a_claim_gets_a_volume_and_takes_it_with_it() -> None:
    rack = Rack()
    async with driven(rack, CONTROLLERS) as c:
        await c.client.create(disks_class(kind="fast"))
        volume = await bound(c)
        uid = claims(c)[0].metadata.uid
        assert volume.metadata.name == f"pvc-{uid}" and volume.metadata.annotations[PROVISIONED_BY] == DRIVER
        assert FINALIZER in volume.metadata.finalizers and volume.spec.capacity["storage"].string == "1Gi"
        source = volume.spec.persistent_volume_source.csi
        assert (source.driver, source.volume_handle, dict(source.volume_attributes)) == (
            DRIVER,
            f"vol-pvc-{uid}",
            {"made-by": "csi-driver"},
        )
        (asked,) = [request for method, request in rack.asked if method == "CreateVolume"]
        assert (asked.name, dict(asked.parameters), asked.capacity_range.required_bytes) == (f"pvc-{uid}", {"kind": "fast"}, 1 << 30)
        assert [one.access_mode.mode for one in asked.volume_capabilities] == [Mode.SINGLE_NODE_MULTI_WRITER]
        await c.until(lambda: IN_PROGRESS not in claims(c)[0].metadata.finalizers)
        await asyncio.sleep(1)
        assert c.events("Provisioning") == ['External provisioner is provisioning volume for claim "default/data"']
        assert c.events("ProvisioningSucceeded") == [f"Successfully provisioned volume pvc-{uid}"]
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        await c.until(lambda: not volumes(c) and not claims(c))
        assert rack.shelf.disks == {} and rack.calls() == ["CreateVolume", "DeleteVolume"]


@virtual_time
async def test_volumes_of_other_drivers_and_of_claims_that_wait_are_left_alone() -> None:
    rack = Rack()
    async with driven(rack, CONTROLLERS) as c:
        other = disks_class("theirs")
        other.provisioner = "theirs.example.com"
        await c.client.create(other)
        await c.client.create(disks_class("late", waits=True))
        await c.client.create(wanting("theirs", of="theirs"))
        await c.client.create(wanting("late", of="late"))
        theirs = disk("theirs", claim="gone")
        theirs.spec.persistent_volume_source.csi.driver, theirs.spec.persistent_volume_reclaim_policy = "theirs.example.com", "Delete"
        c.api.seed(theirs)
        await asyncio.sleep(10)
        assert rack.asked == [] and not any(IN_PROGRESS in found.metadata.finalizers for found in claims(c))
        await c.edit(core.PersistentVolumeClaim, "late", lambda found: found.metadata.annotations.update({SELECTED_NODE: "node-1"}))
        await c.until(lambda: rack.calls() == ["CreateVolume"])


@virtual_time
async def test_a_volume_that_is_kept_stays() -> None:
    rack = Rack()
    async with driven(rack, CONTROLLERS) as c:
        kept = disks_class()
        kept.reclaim_policy = "Retain"
        await c.client.create(kept)
        volume = await bound(c)
        assert FINALIZER not in volume.metadata.finalizers
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        await asyncio.sleep(10)
        assert volumes(c)[0].status.phase == "Released" and rack.calls() == ["CreateVolume"]


@virtual_time
async def test_a_volume_made_by_hand_is_removed_too() -> None:
    rack = Rack()
    rack.shelf.make("by-hand")
    async with driven(rack, CONTROLLERS) as c:
        made = disk("by-hand", handle="vol-by-hand", claim="gone")
        made.spec.persistent_volume_reclaim_policy = "Delete"
        c.api.seed(made)
        await c.until(lambda: not volumes(c))
        assert rack.shelf.disks == {}


@pytest.mark.parametrize(
    "fault", [None, DriverError(CODE.ABORTED, "at it"), DriverError(CODE.INTERNAL, "broken")], ids=["lost", "pending", "broken"]
)
@virtual_time
async def test_a_call_is_repeated_until_it_is_answered(fault: DriverError | None) -> None:
    rack = Rack(faults={"CreateVolume": [fault] * 3, "DeleteVolume": [fault] * 3})
    async with driven(rack, CONTROLLERS) as c:
        await c.client.create(disks_class())
        await bound(c)
        assert len(rack.shelf.disks) == 1 and len(volumes(c)) == 1
        await asyncio.sleep(1)
        words = str(fault or DriverError(CODE.DEADLINE_EXCEEDED, "Deadline Exceeded"))
        assert c.events("ProvisioningFailed") == [words]
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        await c.until(lambda: not volumes(c))
        await asyncio.sleep(1)
        assert rack.shelf.disks == {} and c.events("VolumeFailedDelete") == [words]


@virtual_time
async def test_a_claim_that_goes_while_its_volume_is_made_leaves_none() -> None:
    """The driver has made it and did not say so; the claim is deleted before it is asked again."""
    rack = Rack(faults={"CreateVolume": [None, DriverError(CODE.UNAVAILABLE, "away")]})
    async with driven(rack, CONTROLLERS) as c:
        await c.client.create(disks_class())
        await c.client.create(wanting())
        await c.until(lambda: rack.shelf.disks)
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        assert IN_PROGRESS in claims(c)[0].metadata.finalizers
        await c.until(lambda: not claims(c) and not volumes(c))
        assert rack.shelf.disks == {} and rack.violations == []


@virtual_time
async def test_a_claim_that_goes_and_surely_has_no_volume_goes_at_once() -> None:
    rack = Rack(faults={"CreateVolume": [DriverError(CODE.INTERNAL, "no")] * 50})
    async with driven(rack, CONTROLLERS) as c:
        await c.client.create(disks_class())
        await c.client.create(wanting())
        await c.until(lambda: len(rack.asked) == 2)
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        await c.until(lambda: not claims(c))
        assert volumes(c) == []


@virtual_time
async def test_a_claim_whose_class_is_gone_goes_and_says_what_it_may_leave() -> None:
    rack = Rack(faults={"CreateVolume": [DriverError(CODE.UNAVAILABLE, "away")] * 50})
    async with driven(rack, CONTROLLERS) as c:
        await c.client.create(disks_class())
        await c.client.create(wanting())
        await c.until(lambda: rack.asked)
        await c.client.delete(storage.StorageClass, "disks")
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        await c.until(lambda: not claims(c))
        await asyncio.sleep(1)
        assert any("nobody will remove it" in words for words in c.events("ProvisioningFailed"))


@virtual_time
async def test_what_can_never_be_is_asked_seldom() -> None:
    rack = Rack(faults={"CreateVolume": [DriverError(CODE.INVALID_ARGUMENT, "no such kind")] * 50})
    async with driven(rack, CONTROLLERS) as c:
        await c.client.create(disks_class())
        await c.client.create(wanting())
        await asyncio.sleep(250)
        assert len(rack.asked) <= 2
        words = "rpc error: code = InvalidArgument desc = no such kind"
        assert c.events("ProvisioningFailed")[0] == f"Volume provisioning failed with infeasible error. Retries will be delayed. {words}"


@pytest.mark.parametrize("spoil", ["small", "empty"])
@virtual_time
async def test_what_is_not_as_asked_is_removed_again(spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rack = Rack()
    create = rack.server.CreateVolume

    async def less(request: Any, context: Any) -> Any:
        answer = await create(request, context)
        answer.volume.capacity_bytes = 5 if spoil == "small" else 0
        return answer

    monkeypatch.setattr(rack.server, "CreateVolume", less)
    async with driven(rack, CONTROLLERS) as c:
        await c.client.create(disks_class())
        await c.client.create(wanting())
        await asyncio.sleep(3)
        if spoil == "small":
            assert rack.shelf.disks == {} and volumes(c) == [] and "DeleteVolume" in rack.calls()
            assert c.events("ProvisioningFailed")[0] == f"created volume capacity 5 less than requested capacity {1 << 30}"
            await c.client.delete(core.PersistentVolumeClaim, "data", "default")
            await c.until(lambda: not claims(c))
        else:
            # It does not know how large: as large as was asked for.
            assert volumes(c)[0].spec.capacity["storage"].string == "1Gi"


@virtual_time
async def test_a_volume_is_copied_from_another_claim() -> None:
    rack = Rack()
    async with driven(rack, CONTROLLERS) as c:
        await c.client.create(disks_class())
        first = await bound(c)

        async def copied(request: Any, context: Any) -> Any:
            assert request.volume_content_source.volume.volume_id == first.spec.persistent_volume_source.csi.volume_handle
            assert CLONING in next(found for found in claims(c) if found.metadata.name == "data").metadata.finalizers
            made = rack.shelf.make(request.name)
            made.source = csi.VolumeContentSource()
            made.source.CopyFrom(request.volume_content_source)
            return type("Answer", (), {"volume": made.message})

        rack.server.CreateVolume = copied  # type: ignore[method-assign]
        copy = wanting("copy")
        copy.spec.data_source.kind, copy.spec.data_source.name = "PersistentVolumeClaim", "data"
        await c.client.create(copy)
        await c.until(lambda: any(found.spec.claim_ref.name == "copy" and found.status.phase == "Bound" for found in volumes(c)))
        await c.until(lambda: not any(CLONING in found.metadata.finalizers for found in claims(c)))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda claim: claim.spec.selector.match_labels.update(a="b"), "claim Selector is not supported"),
        (lambda claim: setattr(claim.spec, "volume_attributes_class_name", "gold"), "MODIFY_VOLUME capability is not reported"),
        (lambda claim: setattr(claim.spec.data_source, "name", "other"), "CLONE_VOLUME capability is not reported"),
    ],
    ids=["selector", "attributes", "copy"],
)
@virtual_time
async def test_what_a_driver_cannot_do_it_is_not_asked(spoil: Callable[[Any], object], words: str) -> None:
    rack = Rack(can=[RPC.CREATE_DELETE_VOLUME])
    async with driven(rack, CONTROLLERS) as c:
        await c.client.create(disks_class())
        claim = wanting()
        spoil(claim)
        if claim.spec.HasField("data_source"):
            claim.spec.data_source.kind = "PersistentVolumeClaim"
        await c.client.create(claim)
        await asyncio.sleep(2)
        assert rack.asked == [] and words in c.events("ProvisioningFailed")[0]


@virtual_time
async def test_secrets_are_handed_over_and_kept_by_name() -> None:
    rack = Rack()
    async with driven(rack, CONTROLLERS) as c:
        found = disks_class()
        found.parameters.update(
            {
                "csi.storage.k8s.io/provisioner-secret-name": "key-of-${pvc.name}",
                "csi.storage.k8s.io/provisioner-secret-namespace": "${pvc.namespace}",
                "csi.storage.k8s.io/node-stage-secret-name": "stage",
                "csi.storage.k8s.io/node-stage-secret-namespace": "default",
                "csi.storage.k8s.io/fstype": "ext4",
            }
        )
        await c.client.create(found)
        secret = core.Secret(metadata=meta.ObjectMeta(name="key-of-data", namespace="default"), data={"password": b"open"})
        await c.client.create(secret)
        volume = await bound(c)
        source = volume.spec.persistent_volume_source.csi
        assert (source.node_stage_secret_ref.name, source.fs_type) == ("stage", "ext4")
        assert [volume.metadata.annotations[key] for key in DELETION_SECRET] == ["key-of-data", "default"]
        await c.client.delete(core.PersistentVolumeClaim, "data", "default")
        await c.until(lambda: not volumes(c))
        assert [dict(request.secrets) for _, request in rack.asked] == [{"password": "open"}] * 2
        assert dict(rack.asked[0][1].parameters) == {}


@virtual_time
async def test_another_node_is_chosen_where_a_driver_has_no_room() -> None:
    rack = Rack(topology=True, faults={"CreateVolume": [DriverError(CODE.RESOURCE_EXHAUSTED, "full")]})
    async with driven(rack, CONTROLLERS) as c:
        await c.client.create(disks_class("late", waits=True))
        c.api.seed(zoned("node-1", "a"), placed("node-1"))
        claim = wanting("late", of="late")
        claim.metadata.annotations[SELECTED_NODE] = "node-1"
        await c.client.create(claim)
        await c.until(lambda: rack.asked and SELECTED_NODE not in claims(c)[0].metadata.annotations)
        assert [dict(one.segments) for one in rack.asked[0][1].accessibility_requirements.requisite] == [{"zone": "a"}]
        await c.edit(core.PersistentVolumeClaim, "late", lambda found: found.metadata.annotations.update({SELECTED_NODE: "node-1"}))
        await c.until(lambda: volumes(c))
        terms = volumes(c)[0].spec.node_affinity.required.node_selector_terms
        assert [(rule.key, list(rule.values)) for term in terms for rule in term.match_expressions] == [("zone", ["a"])]


def zoned(name: str, zone: str) -> core.Node:
    made = machine(name)
    made.metadata.labels["zone"] = zone
    return made


def placed(name: str, *keys: str) -> storage.CSINode:
    made = storage.CSINode()
    made.metadata.name = name
    made.spec.drivers.add(name=DRIVER, node_id=f"id-{name}", topology_keys=keys or ["zone"])
    return made


def where(selected: str = "", allowed: dict[str, list[str]] | None = None, **zones: str) -> list[list[str]]:
    """The zones that are required, and the preferred ones in their order."""
    nodes = {name: zoned(name, zone) for name, zone in zones.items()}
    terms = []
    if allowed:
        terms = [core.TopologySelectorTerm(match_label_expressions=[{"key": key, "values": values} for key, values in allowed.items()])]
    found = requirement(DRIVER, terms, selected, "data-1", Places(nodes, {name: placed(name) for name in nodes}))
    assert found is not None
    return [[",".join(sorted(one.segments.values())) for one in part] for part in (found.requisite, found.preferred)]


def test_a_volume_is_made_near_the_chosen_node() -> None:
    assert where("n2", n1="a", n2="b", n3="c") == [["a", "b", "c"], ["b", "c", "a"]]
    assert where("n2", {"zone": ["b", "c"]}, n1="a", n2="b") == [["b", "c"], ["b", "c"]]
    assert where(allowed={"zone": ["a", "b"], "rack": ["1"]})[0] == ["1,a", "1,b"]
    with pytest.raises(Elsewhere):
        where("n1", {"zone": ["b"]}, n1="a", n2="b")
    with pytest.raises(Elsewhere):
        where("gone", n1="a")
    with pytest.raises(Refused, match="no available topology found"):
        where()


def test_claims_of_a_set_begin_at_different_places() -> None:
    places = Places({f"n{zone}": zoned(f"n{zone}", zone) for zone in "abc"}, {f"n{zone}": placed(f"n{zone}") for zone in "abc"})
    found = [requirement(DRIVER, [], "", f"data-{number}", places) for number in range(3)]
    assert {one.preferred[0].segments["zone"] for one in found if one is not None} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("modes", "apart", "plain"),
    [
        (["ReadWriteOnce"], Mode.SINGLE_NODE_MULTI_WRITER, Mode.SINGLE_NODE_WRITER),
        (["ReadWriteOncePod"], Mode.SINGLE_NODE_SINGLE_WRITER, Mode.SINGLE_NODE_WRITER),
        (["ReadWriteMany", "ReadOnlyMany"], Mode.MULTI_NODE_MULTI_WRITER, Mode.MULTI_NODE_MULTI_WRITER),
        (["ReadOnlyMany"], Mode.MULTI_NODE_READER_ONLY, Mode.MULTI_NODE_READER_ONLY),
    ],
    ids=["once", "one pod", "many", "read"],
)
def test_access_modes_are_told_in_the_drivers_words(modes: list[str], apart: int, plain: int) -> None:
    assert access_mode(modes, Abilities(frozenset(served.ALL))) == apart
    assert access_mode(modes, Abilities()) == plain


@pytest.mark.parametrize(
    "modes", [["ReadOnlyMany", "ReadWriteOnce"], ["ReadWriteOncePod", "ReadWriteMany"], []], ids=["mixed", "one pod", "none"]
)
def test_modes_that_no_driver_knows_are_refused(modes: list[str]) -> None:
    with pytest.raises(Refused):
        access_mode(modes, Abilities())


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"csi.storage.k8s.io/provisioner-secret-name": "a"}, "Both must be specified"),
        ({"csi.storage.k8s.io/secret-name": "${pvc.uid}", "csi.storage.k8s.io/secret-namespace": "b"}, "invalid tokens"),
        ({"csi.storage.k8s.io/secret-name": "a", "csi.storage.k8s.io/secret-namespace": "${pvc.name}"}, "invalid tokens"),
        ({"csi.storage.k8s.io/secret-name": "A!", "csi.storage.k8s.io/secret-namespace": "b"}, "is not a valid secret name"),
        (
            {"csi.storage.k8s.io/secret-name": "${pvc.annotations['who']}", "csi.storage.k8s.io/secret-namespace": "b"},
            'resolved to "../x" which is not a valid secret name',
        ),
    ],
    ids=["half", "token", "namespace", "name", "annotation"],
)
def test_secrets_that_cannot_be_are_refused(parameters: dict[str, str], words: str) -> None:
    claim = held()
    claim.metadata.annotations["who"] = "../x"
    with pytest.raises(Refused, match=words.replace("$", r"\$")):
        reference("provisioner-", parameters, "pvc-1", claim)
