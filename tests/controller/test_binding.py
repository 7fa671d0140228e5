"""Which volume a claim gets, decided one by one; and whoever is cut off anywhere, no volume is ever two claims'."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.binding import (
    AVAILABLE,
    BIND_COMPLETED,
    BOUND,
    BOUND_BY_CONTROLLER,
    PROVISIONED_BY,
    PROVISIONER,
    RELEASED,
    SELECTED_NODE,
    best_volume,
    is_for,
)
from knarr.objects.copies import copy_of
from services.controller.controllers.persistentvolumebinder.decide import Facts, decide
from services.controller.controllers.persistentvolumebinder.reclaim import decide_volume
from services.controller.controllers.persistentvolumebinder.step import Step
from tests.controller.storage import asking, sized, storage_class

CLASSES = {
    "disks": storage_class("disks"),
    "late": storage_class("late", waits=True),
    "none": storage_class("none", provisioner="kubernetes.io/no-provisioner"),
}


def free(name: str, size: str = "1Gi", **options: Any) -> core.PersistentVolume:
    made = sized(name, size, **options)
    made.status.phase = AVAILABLE
    return made


def wanting(size: str = "1Gi", **options: Any) -> core.PersistentVolumeClaim:
    made = asking("data", size, **options)
    made.metadata.uid, made.status.phase = "uid-data", "Pending"
    return made


def changed(obj: Any, change: Callable[[Any], object]) -> Any:
    result = copy_of(obj)
    change(result)
    return result


def test_the_smallest_that_suits_is_the_best() -> None:
    volumes = [
        free("huge", "100Gi"),
        free("b-fitting", "5Gi"),
        free("a-fitting", "5G"),
        free("small", "1Gi"),
        free("classy", "3Gi", of="disks"),
    ]
    found = best_volume(wanting("2Gi"), volumes)
    assert found is not None and found.metadata.name == "a-fitting"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda volume: volume.spec.access_modes.__setitem__(0, "ReadOnlyMany"),
        lambda volume: setattr(volume.spec, "volume_mode", "Block"),
        lambda volume: setattr(volume.spec, "storage_class_name", "disks"),
        lambda volume: setattr(volume.spec, "volume_attributes_class_name", "fast"),
        lambda volume: setattr(volume.status, "phase", RELEASED),
        lambda volume: setattr(volume.metadata.deletion_timestamp, "seconds", 1),
        lambda volume: setattr(volume.spec.claim_ref, "name", "other"),
    ],
    ids=["access mode", "volume mode", "class", "attributes class", "phase", "deleted", "taken"],
)
def test_what_does_not_suit_is_not_taken(spoil: Callable[[Any], object]) -> None:
    assert best_volume(wanting(), [free("disk")]) is not None
    assert best_volume(wanting(), [changed(free("disk"), spoil)]) is None


def test_a_selector_narrows_the_choice() -> None:
    chosen, other = free("chosen"), free("other")
    chosen.metadata.labels["tier"] = "gold"
    picky = wanting()
    picky.spec.selector.match_labels["tier"] = "gold"
    assert best_volume(picky, [other, chosen]) == chosen


def test_one_that_is_kept_for_the_claim_comes_first_whatever_its_class() -> None:
    kept = free("kept", "9Gi", of="disks", kept_for="data")
    assert best_volume(wanting(), [free("small"), kept]) == kept
    assert best_volume(wanting("10Gi"), [kept]) is None


def test_looking_at_them_changes_neither() -> None:
    bare, empty = core.PersistentVolume(), core.PersistentVolumeClaim()
    best_volume(empty, [bare])
    assert (bare, empty) == (core.PersistentVolume(), core.PersistentVolumeClaim())


def written(steps: list[Step]) -> list[Any]:
    return [step.write for step in steps]


def play(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume) -> list[Step]:
    """The steps until nothing is left to do."""
    steps: list[Step] = []
    while (step := decide(claim, Facts(volume if claim.spec.volume_name else None, [volume], CLASSES))).write is not None:
        steps.append(step)
        if isinstance(step.write, core.PersistentVolume):
            volume = step.write
        else:
            claim = step.write
    return steps


def test_binding_is_four_writes_the_volume_first() -> None:
    steps = play(wanting(), free("disk"))
    assert [(type(step.write).__name__, step.status) for step in steps] == [
        ("PersistentVolume", False),
        ("PersistentVolume", True),
        ("PersistentVolumeClaim", False),
        ("PersistentVolumeClaim", True),
    ]
    volume, claim = steps[1].write, steps[3].write
    assert isinstance(volume, core.PersistentVolume) and isinstance(claim, core.PersistentVolumeClaim)
    assert volume.status.phase == claim.status.phase == BOUND and volume.metadata.annotations[BOUND_BY_CONTROLLER] == "yes"
    assert claim.spec.volume_name == "disk" and claim.metadata.annotations[BIND_COMPLETED] == "yes"
    assert claim.status.capacity["storage"].string == "1Gi" and claim.status.access_modes == ["ReadWriteOnce"]


def test_what_a_user_chose_is_not_said_to_be_the_controllers() -> None:
    kept = written(play(wanting(), free("disk", kept_for="data")))
    assert BOUND_BY_CONTROLLER not in kept[0].metadata.annotations and kept[0].spec.claim_ref.uid == "uid-data"
    named = written(play(wanting(named="disk"), free("disk")))
    assert BOUND_BY_CONTROLLER not in named[-1].metadata.annotations


def said(claim: core.PersistentVolumeClaim, **facts: Any) -> tuple[str, str]:
    step = decide(claim, Facts(classes=CLASSES, **facts))
    assert step.say is not None
    return step.say.reason, step.say.message


def test_what_is_told_of_a_claim_that_waits() -> None:
    late = wanting(of="late")
    assert said(wanting()) == ("FailedBinding", "no persistent volumes available for this claim and no storage class is set")
    assert said(late) == ("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    assert said(late, waiting_pods=["web"]) == ("WaitForPodScheduled", "waiting for pod web to be scheduled")
    assert said(late, waiting_pods=["b", "a"])[1] == "waiting for pods a,b to be scheduled"
    assert said(wanting(of="gone")) == ("ProvisioningFailed", 'storageclass.storage.k8s.io "gone" not found')
    assert said(wanting(of="none")) == ("ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner")
    assert said(wanting(of="disks"))[0] == "ExternalProvisioning"


def test_a_claim_that_waits_takes_nothing_before_its_pod_has_a_node() -> None:
    late, volume = wanting(of="late"), free("disk", of="late")
    assert decide(late, Facts(volumes=[volume], classes=CLASSES)).write is None
    late.metadata.annotations[SELECTED_NODE] = "node-1"
    asked = decide(late, Facts(classes=CLASSES)).write
    assert asked is not None and asked.metadata.annotations[PROVISIONER] == "example.com/disks"


def test_a_claim_without_a_class_gets_the_default_one_and_an_empty_class_is_one() -> None:
    bare = wanting()
    bare.spec.ClearField("storage_class_name")
    given = decide(bare, Facts(classes=CLASSES, default_class="disks")).write
    assert isinstance(given, core.PersistentVolumeClaim) and given.spec.storage_class_name == "disks"
    assert said(wanting(), default_class="disks")[0] == "FailedBinding"
    taken = decide(bare, Facts(volumes=[free("by-hand")], classes=CLASSES, default_class="disks")).write
    assert isinstance(taken, core.PersistentVolume) and taken.spec.claim_ref.name == bare.metadata.name


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda volume: setattr(volume.spec.capacity["storage"], "string", "1Mi"), "requested PV is too small"),
        (lambda volume: setattr(volume.spec, "storage_class_name", "disks"), "storageClassName does not match"),
        (lambda volume: setattr(volume.spec, "volume_mode", "Block"), "incompatible volumeMode"),
        (lambda volume: volume.spec.access_modes.__setitem__(0, "ReadOnlyMany"), "incompatible accessMode"),
    ],
    ids=["size", "class", "mode", "access"],
)
def test_a_volume_that_is_asked_for_by_name_must_suit(spoil: Callable[[Any], object], why: str) -> None:
    found = changed(free("disk"), spoil)
    assert said(wanting(named="disk"), named=found) == ("VolumeMismatch", f'Cannot bind to requested volume "disk": {why}')


def test_a_volume_of_another_claim_is_not_given_to_who_names_it() -> None:
    other = free("disk", kept_for="other")
    reason, message = said(wanting(named="disk"), named=other)
    assert (reason, message) == ("FailedBinding", 'volume "disk" already bound to a different claim.')


def test_a_claim_that_was_bound_and_has_no_volume_is_lost() -> None:
    bound = wanting(named="disk")
    bound.metadata.annotations[BIND_COMPLETED], bound.status.phase = "yes", BOUND
    assert said(bound) == ("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
    assert said(bound, named=free("disk", kept_for="other"))[0] == "ClaimMisbound"
    lost = decide(bound, Facts()).write
    assert isinstance(lost, core.PersistentVolumeClaim) and lost.status.phase == "Lost" and decide(lost, Facts()).write is None


def held(policy: str = "Retain", **annotations: str) -> core.PersistentVolume:
    made = free("disk", policy=policy, kept_for="data")
    made.spec.claim_ref.uid, made.status.phase = "uid-data", BOUND
    made.metadata.annotations.update({PROVISIONED_BY: annotations["by"]} if annotations else {})
    return made


@pytest.mark.parametrize(
    ("volume", "phases", "reason"),
    [
        (held(), ["Released"], ""),
        (held("Delete", by="example.com/disks"), ["Released"], ""),
        (held("Delete"), ["Released", "Failed"], "VolumeFailedDelete"),
        (held("Recycle"), ["Released", "Failed"], "VolumeFailedRecycle"),
    ],
    ids=["retain", "delete by its maker", "delete by nobody", "recycle"],
)
def test_what_becomes_of_a_volume_whose_claim_is_gone(volume: core.PersistentVolume, phases: list[str], reason: str) -> None:
    seen, told = [], ""
    while (step := decide_volume(volume, None)).write is not None:
        assert isinstance(step.write, core.PersistentVolume)
        volume = step.write
        seen.append(volume.status.phase)
        told = step.say.reason if step.say else told
    assert (seen, told) == (phases, reason)


def test_a_volume_whose_claim_took_another_one_is_free_again() -> None:
    elsewhere = wanting(named="other")
    kept = decide_volume(held(), elsewhere).write
    assert isinstance(kept, core.PersistentVolume) and kept.spec.claim_ref.name == "data" and not kept.spec.claim_ref.uid
    ours = held()
    ours.metadata.annotations[BOUND_BY_CONTROLLER] = "yes"
    given_back = decide_volume(ours, elsewhere).write
    assert isinstance(given_back, core.PersistentVolume) and not given_back.spec.HasField("claim_ref")


@pytest.mark.parametrize("seed", range(60))
def test_no_volume_is_two_claims_whoever_is_cut_off_or_behind(seed: int) -> None:
    """Claims and volumes come and go; each step is decided on what was so a while ago, and a write of what has changed is refused."""
    source = random.Random(seed)
    claims: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    now: dict[str, int] = {}
    behind: list[dict[str, Any]] = []
    for number in range(5):
        one = asking(f"claim-{number}", source.choice(("1Gi", "2Gi", "4Gi")), named=source.choice(("", "", "", "disk-1")))
        one.metadata.uid = f"uid-{number}"
        claims[one.metadata.name] = one
        disk = free(f"disk-{number}", source.choice(("1Gi", "3Gi", "5Gi")), kept_for=source.choice(("", "", "claim-2")))
        volumes[disk.metadata.name] = disk
    for _ in range(300):
        behind.append({"claims": dict(claims), "volumes": dict(volumes), "now": dict(now)})
        # A copy is of one moment for each kind, and the two moments need not be the same.
        of_claims, of_volumes = (source.choice(behind[-5:]) for _ in range(2))
        if source.random() < 0.6:
            claim = of_claims["claims"][source.choice(sorted(claims))]
            known = of_volumes["volumes"]
            named = known.get(claim.spec.volume_name) if claim.spec.volume_name else None
            step = decide(claim, Facts(named, known.values(), CLASSES))
        else:
            volume = of_volumes["volumes"][source.choice(sorted(volumes))]
            found = next((one for one in claims.values() if one.metadata.uid == volume.spec.claim_ref.uid), None)
            step = decide_volume(volume, found)
        if step.write is None:
            continue
        name = step.write.metadata.name
        seen = of_claims if name in claims else of_volumes
        if seen["now"].get(name, 0) == now.get(name, 0):
            now[name] = now.get(name, 0) + 1
            (claims if name in claims else volumes)[name] = step.write
        taken = [
            one.spec.volume_name for one in claims.values() if BIND_COMPLETED in one.metadata.annotations and one.status.phase == BOUND
        ]
        assert len(taken) == len(set(taken))
        assert all(is_for(volumes[one.spec.volume_name], one) for one in claims.values() if one.status.phase == BOUND)
