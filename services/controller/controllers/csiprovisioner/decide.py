"""Volumes of drivers: which claims one is made for, what its driver is asked, and what becomes of the answer. Pure.

Specified by Kubernetes' external provisioner, whose words, names and annotations these are. Beyond it, a claim has a finalizer from before
its driver is first asked until its volume is an object: whoever dies in between leaves a claim that says that there may be a volume, and a
claim that is deleted meanwhile goes once that volume has an owner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.api.csi.v1 import volume_pb2 as csi
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.binding import (
    BETA_PROVISIONER,
    BIND_COMPLETED,
    BOUND,
    PROVISIONED_BY,
    PROVISIONER,
    RELEASED,
    SELECTED_NODE,
    refer_to_claim,
    volume_mode,
    wanted_storage,
)
from knarr.objects.csi import Mode, source_of
from knarr.objects.keys import is_deleting
from knarr.objects.volumes import BLOCK, STORAGE, WAIT_FOR_FIRST_CONSUMER, storage_class_of
from services.controller.csi.amounts import binary
from services.controller.csi.capabilities import Refused, capability
from services.controller.csi.driver import RPC, Abilities
from services.controller.csi.secrets import KNOWN, MODIFY_SECRET, PREFIX, reference
from services.controller.csi.topology import node_affinity

# On a volume until its driver has removed what it stands for.
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
# On a claim while its driver may have made a volume that is no object yet.
IN_PROGRESS = "knarr.dev/csi-provisioning"
# On a claim that another one is copied from.
CLONING = "provisioner.storage.kubernetes.io/cloning-protection"
# On a volume: the Secret by which its driver removes it.
DELETION_SECRET = ("volume.kubernetes.io/provisioner-deletion-secret-name", "volume.kubernetes.io/provisioner-deletion-secret-namespace")
FS_TYPE = f"{PREFIX}fstype"
CLAIM_KIND = "PersistentVolumeClaim"
MISFITS = "claim in dataSource not bound or invalid"


@dataclass(frozen=True, slots=True)
class Source:
    """The claim that a new one is copied from, and its volume, as far as they are there."""

    claim: core.PersistentVolumeClaim | None = None
    volume: core.PersistentVolume | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """Everything that a volume is made from. ``attributes`` are those of its VolumeAttributesClass."""

    claim: core.PersistentVolumeClaim
    found: storage.StorageClass
    abilities: Abilities
    requirement: csi.TopologyRequirement | None = None
    source: Source | None = None
    attributes: storage.VolumeAttributesClass | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)


def volume_name(claim: core.PersistentVolumeClaim) -> str:
    """One for each claim, for the driver and for the object: what is made twice is the same."""
    return f"pvc-{claim.metadata.uid}"


def driver_of(claim: core.PersistentVolumeClaim) -> str:
    annotations = claim.metadata.annotations
    return str(annotations.get(PROVISIONER, annotations.get(BETA_PROVISIONER, "")))


def is_in_progress(claim: core.PersistentVolumeClaim) -> bool:
    """Whether its driver may have been asked."""
    return IN_PROGRESS in claim.metadata.finalizers


def is_wanted(claim: core.PersistentVolumeClaim, found: storage.StorageClass | None) -> bool:
    """Whether a volume is to be made for a claim: also for one that is being deleted, if its driver was asked for it."""
    if claim.spec.volume_name or BIND_COMPLETED in claim.metadata.annotations or found is None or found.provisioner != driver_of(claim):
        return False
    if is_deleting(claim):
        return is_in_progress(claim)
    return found.volume_binding_mode != WAIT_FOR_FIRST_CONSUMER or bool(claim.metadata.annotations.get(SELECTED_NODE))


def copies_claim(claim: core.PersistentVolumeClaim) -> bool:
    """Whether it begins with what another claim has. Raises Refused for a snapshot, and for a claim elsewhere."""
    spec = claim.spec
    if not spec.HasField("data_source") and not spec.HasField("data_source_ref"):
        return False
    if spec.data_source_ref.namespace:
        raise Refused("no claim of another namespace is copied: leave out dataSourceRef.namespace")
    kind = spec.data_source.kind or spec.data_source_ref.kind
    if kind == CLAIM_KIND:
        return True
    raise Refused(f"there are no copies of a {kind} here: run the driver's own provisioner for that, or leave out dataSource")


def source_name(claim: core.PersistentVolumeClaim) -> str:
    return str(claim.spec.data_source.name or claim.spec.data_source_ref.name)


def check(claim: core.PersistentVolumeClaim, abilities: Abilities) -> None:
    """Raises Refused for what the driver cannot do, or nobody can."""
    if not abilities.can(RPC.CREATE_DELETE_VOLUME):
        raise Refused("CSI driver does not support dynamic provisioning: controller CREATE_DELETE_VOLUME capability is not reported")
    if copies_claim(claim) and not abilities.can(RPC.CLONE_VOLUME):
        raise Refused("CSI driver does not support clone operations: controller CLONE_VOLUME capability is not reported")
    if claim.spec.volume_attributes_class_name and not abilities.can(RPC.MODIFY_VOLUME):
        raise Refused("CSI driver does not support VolumeAttributesClass: controller MODIFY_VOLUME capability is not reported")
    if claim.spec.HasField("selector"):
        raise Refused("claim Selector is not supported")


def request(wish: Wish) -> pb.CreateVolumeRequest:
    """What the driver is asked. Raises Refused."""
    claim, found = wish.claim, wish.found
    made = pb.CreateVolumeRequest(name=volume_name(claim), parameters=_parameters(found), secrets=dict(wish.secrets))
    made.capacity_range.required_bytes = wanted_storage(claim).whole
    fs_type = _fs_type(found)
    for mode in claim.spec.access_modes:
        made.volume_capabilities.append(capability([mode], volume_mode(claim), fs_type, found.mount_options, wish.abilities))
    if wish.requirement is not None:
        made.accessibility_requirements.CopyFrom(wish.requirement)
    if wish.source is not None:
        made.volume_content_source.volume.volume_id = _handle_of(wish)
    if wish.attributes is not None:
        if wish.attributes.driver_name != found.provisioner:
            name, other = wish.attributes.metadata.name, wish.attributes.driver_name
            words = f"VAC {name} referenced in PVC is for driver {other} which does not match driver name {found.provisioner}"
            raise Refused(words)
        made.mutable_parameters.update(wish.attributes.parameters)
    return made


def misanswer(wish: Wish, asked: pb.CreateVolumeRequest, answer: csi.Volume) -> str:
    """Why what a driver has made is not what it was asked for, and has to go again; empty where it is."""
    least = asked.capacity_range.required_bytes
    if answer.capacity_bytes and answer.capacity_bytes < least:
        return f"created volume capacity {answer.capacity_bytes} less than requested capacity {least}"
    if wish.source is not None and not answer.HasField("content_source"):
        return "volume content source missing"
    return "" if answer.volume_id else "created volume has no id"


def volume_object(wish: Wish, asked: pb.CreateVolumeRequest, answer: csi.Volume) -> core.PersistentVolume:
    """What stands for a volume that was made. Raises Refused."""
    claim, found = wish.claim, wish.found
    made = core.PersistentVolume()
    made.metadata.name = asked.name
    made.metadata.annotations[PROVISIONED_BY] = found.provisioner
    spec, policy = made.spec, found.reclaim_policy or "Delete"
    if policy == "Delete":
        made.metadata.finalizers.append(FINALIZER)
    spec.capacity[STORAGE].string = binary(answer.capacity_bytes or asked.capacity_range.required_bytes)
    spec.access_modes.extend(claim.spec.access_modes)
    spec.mount_options.extend(found.mount_options)
    spec.persistent_volume_reclaim_policy = policy
    spec.storage_class_name, spec.volume_mode = storage_class_of(claim), volume_mode(claim)
    if claim.spec.volume_attributes_class_name:
        spec.volume_attributes_class_name = claim.spec.volume_attributes_class_name
    source = spec.persistent_volume_source.csi
    source.driver, source.volume_handle = found.provisioner, answer.volume_id
    source.volume_attributes.update(answer.volume_context)
    if volume_mode(claim) != BLOCK:
        source.fs_type = _fs_type(found)
    modes = [one.access_mode.mode for one in asked.volume_capabilities]
    source.read_only = modes == [Mode.MULTI_NODE_READER_ONLY] and wish.abilities.can(RPC.PUBLISH_READONLY)
    _refer_to_secrets(made, wish)
    if wish.abilities.topology and (affinity := node_affinity(answer.accessible_topology)) is not None:
        spec.node_affinity.CopyFrom(affinity)
    refer_to_claim(made, claim)
    return made


def is_ours(volume: core.PersistentVolume, drivers: Collection[str]) -> bool:
    """Whether it is for one of the drivers to remove: made by it, or by hand for it."""
    source = source_of(volume)
    made_by = volume.metadata.annotations.get(PROVISIONED_BY)
    return source is not None and source.driver in drivers and made_by in (None, source.driver)


def wants_finalizer(volume: core.PersistentVolume) -> bool | None:
    """Whether a volume is to be kept until its driver has removed what it stands for; None: as it is."""
    has, policy = FINALIZER in volume.metadata.finalizers, volume.spec.persistent_volume_reclaim_policy
    if policy == "Delete" and not is_deleting(volume) and volume.status.phase == BOUND and not has:
        return True
    return False if policy != "Delete" and has else None


def is_to_be_removed(volume: core.PersistentVolume) -> bool:
    """Whether its claim is gone, and it goes with it."""
    if volume.status.phase != RELEASED or volume.spec.persistent_volume_reclaim_policy != "Delete":
        return False
    return not is_deleting(volume) or FINALIZER in volume.metadata.finalizers


def _parameters(found: storage.StorageClass) -> dict[str, str]:
    """Those that are the driver's."""
    for key in found.parameters:
        if key.startswith(PREFIX) and key not in KNOWN and key != FS_TYPE:
            raise Refused(
                f'failed to strip CSI Parameters of prefixed keys: found unknown parameter key "{key}" with reserved namespace {PREFIX}'
            )
    return {key: value for key, value in found.parameters.items() if not key.startswith(PREFIX)}


def _fs_type(found: storage.StorageClass) -> str:
    named = [value for key, value in found.parameters.items() if key.lower() == "fstype" or key == FS_TYPE]
    if len(named) > 1:
        raise Refused(f'fstype specified in parameters with both "fstype" and "{FS_TYPE}" keys')
    return named[0] if named else ""


def _handle_of(wish: Wish) -> str:
    """What the driver calls the volume that a new one is copied from."""
    claim, source = wish.claim, wish.source
    assert source is not None
    name = f"error getting handle for DataSource Type {CLAIM_KIND} by Name {source_name(claim)}"
    there, volume = source.claim, source.volume
    if there is None:
        raise Refused(f'{name}: error getting PVC {source_name(claim)} (namespace "{claim.metadata.namespace}") from api server: not found')
    if is_deleting(there):
        raise Refused(f"{name}: the PVC DataSource {there.metadata.name} is currently being deleted")
    if there.status.phase != BOUND:
        raise Refused(f"{name}: the PVC DataSource {there.metadata.name} must have a status of Bound.  Got {there.status.phase}")
    asked, least = wanted_storage(claim).whole, wanted_storage(there).whole
    if asked < least:
        words = "error, new PVC request must be greater than or equal in size to the specified PVC data source"
        raise Refused(f"{name}: {words}, requested {asked} but source is {least}")
    known = None if volume is None else source_of(volume)
    bound = volume is not None and volume.spec.claim_ref.uid == there.metadata.uid and volume.status.phase == BOUND
    if volume is None or known is None or known.driver != wish.found.provisioner or not bound:
        raise Refused(f"{name}: {MISFITS}")
    if volume_mode(volume) != volume_mode(claim):
        words = "the source PVC and destination PVCs must have the same volume mode for cloning"
        raise Refused(f"{name}: {words}.  Source is {volume_mode(volume)}, but new PVC requested {volume_mode(claim)}")
    return str(known.volume_handle)


def _refer_to_secrets(made: core.PersistentVolume, wish: Wish) -> None:
    source, parameters, name = made.spec.persistent_volume_source.csi, wish.found.parameters, made.metadata.name
    for call, target in (
        ("controller-publish-", source.controller_publish_secret_ref),
        ("node-stage-", source.node_stage_secret_ref),
        ("node-publish-", source.node_publish_secret_ref),
        ("controller-expand-", source.controller_expand_secret_ref),
        ("node-expand-", source.node_expand_secret_ref),
    ):
        found = reference(call, parameters, name, wish.claim)
        if found is not None:
            target.CopyFrom(found)
    removing = reference("provisioner-", parameters, name, wish.claim) or core.SecretReference()
    made.metadata.annotations.update(dict(zip(DELETION_SECRET, (removing.name, removing.namespace), strict=True)))
    if (changing := reference("controller-modify-", parameters, name, wish.claim)) is not None:
        made.metadata.annotations.update(dict(zip(MODIFY_SECRET, (changing.name, changing.namespace), strict=True)))
