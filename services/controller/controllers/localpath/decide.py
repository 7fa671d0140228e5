"""Volumes of local-path: what to make for a claim, when one goes, and when one grows. Pure.

The words of the events are those of the provisioners and resizers that Kubernetes' storage drivers come with.
"""

from __future__ import annotations

from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.binding import (
    BIND_COMPLETED,
    BOUND,
    PROVISIONED_BY,
    RELEASED,
    SELECTED_NODE,
    refer_to_claim,
    storage_of,
    wanted_storage,
)
from knarr.objects.copies import copy_field, copy_of
from knarr.objects.growth import clear_growth
from knarr.objects.keys import is_deleting
from knarr.objects.labels import HOSTNAME
from knarr.objects.local_path import (
    CLASS,
    FINALIZER,
    FOLDERS,
    NODE_LABEL,
    PROVISIONER,
    is_local_path,
    is_to_be_removed,
    loses_its_data,
)
from knarr.objects.volumes import BLOCK, ONE_POD, STORAGE, storage_class_of

MODES = frozenset({"ReadWriteOnce", ONE_POD})
# The longest value of a label.
LONGEST_LABEL = 63


class Refused(Exception):
    """No volume can be made as the claim asks: the words of the event."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event about the claim."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Making:
    """``volume`` is to be created, or ``claim`` is to be written, so that the scheduler chooses anew."""

    volume: core.PersistentVolume | None = None
    claim: core.PersistentVolumeClaim | None = None
    told: tuple[Told, ...] = ()


def volume_name(claim: core.PersistentVolumeClaim) -> str:
    """One for each claim, so that what is made twice is refused."""
    return f"pvc-{claim.metadata.uid}"


def is_wanted(claim: core.PersistentVolumeClaim, found: storage.StorageClass | None) -> bool:
    """Whether a volume is to be made for the claim."""
    waits = not claim.spec.volume_name and BIND_COMPLETED not in claim.metadata.annotations and not is_deleting(claim)
    return waits and found is not None and found.provisioner == PROVISIONER


def make(claim: core.PersistentVolumeClaim, found: storage.StorageClass, node: core.Node | None) -> Making:
    """What to do for a claim that ``is_wanted``; ``node`` is the one that was selected, None where it is gone."""
    if SELECTED_NODE not in claim.metadata.annotations:
        if found.volume_binding_mode == "Immediate":
            words = "a folder belongs to a node, and none is chosen yet: use a class with volumeBindingMode WaitForFirstConsumer"
            return Making(told=(_failed(found, words),))
        return Making()
    selected = claim.metadata.annotations[SELECTED_NODE]
    try:
        _check(claim, found)
        if node is None:
            raise Refused(f'node "{selected}" not found')
        volume = _volume(claim, found, node)
    except Refused as error:
        if node is not None and FOLDERS in node.metadata.annotations:
            return Making(told=(_failed(found, str(error)),))
        # Another node may do: it is for the scheduler to choose.
        changed = copy_of(claim)
        del changed.metadata.annotations[SELECTED_NODE]
        return Making(claim=changed, told=(_failed(found, str(error)),))
    name = f"{claim.metadata.namespace}/{claim.metadata.name}"
    said = Told("Provisioning", f'External provisioner is provisioning volume for claim "{name}"')
    return Making(volume, told=(said, Told("ProvisioningSucceeded", f"Successfully provisioned volume {volume.metadata.name}")))


def is_to_be_deleted(volume: core.PersistentVolume) -> bool:
    """Whether its claim is gone, and it goes with it."""
    return is_local_path(volume) and volume.status.phase == RELEASED and loses_its_data(volume) and not is_deleting(volume)


def has_lost_its_node(volume: core.PersistentVolume, nodes: frozenset[str]) -> bool:
    """Whether nobody is left who could remove its folder."""
    return is_to_be_removed(volume) and volume.metadata.labels.get(NODE_LABEL) not in nodes


def grows(claim: core.PersistentVolumeClaim) -> bool:
    """Whether a claim asks for more than it has."""
    return bool(claim.status.phase == BOUND) and wanted_storage(claim) > storage_of(claim.status.capacity) and not is_deleting(claim)


def grown_volume(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume) -> core.PersistentVolume | None:
    """The volume as large as its claim asks; None where it is."""
    if not wanted_storage(claim) > storage_of(volume.spec.capacity):
        return None
    changed = copy_of(volume)
    changed.spec.capacity[STORAGE].CopyFrom(claim.spec.resources.requests[STORAGE])
    return changed


def grown_claim(claim: core.PersistentVolumeClaim, volume: core.PersistentVolume) -> core.PersistentVolumeClaim:
    """The claim told what its volume has; a folder grows while it is used."""
    told = copy_of(claim)
    copy_field("capacity", told.status, volume.spec)
    told.status.allocated_resources[STORAGE].CopyFrom(volume.spec.capacity[STORAGE])
    told.status.allocated_resource_statuses.pop(STORAGE, None)
    clear_growth(told.status)
    return told


def _check(claim: core.PersistentVolumeClaim, found: storage.StorageClass) -> None:
    """Raises Refused for what a folder cannot be."""
    if claim.spec.volume_mode == BLOCK:
        raise Refused("a folder is no block device: use volumeMode Filesystem")
    if other := sorted(set(claim.spec.access_modes) - MODES):
        raise Refused(f"a folder is on one node only, {', '.join(other)} cannot be had: use ReadWriteOnce or ReadWriteOncePod")
    if claim.spec.HasField("selector"):
        raise Refused("claim Selector is not supported")
    if claim.spec.HasField("data_source_ref") or claim.spec.HasField("data_source"):
        raise Refused("there are no snapshots, and no copies of other volumes: leave out dataSource and dataSourceRef")
    if claim.spec.volume_attributes_class_name:
        raise Refused("a folder has no attributes: leave out volumeAttributesClassName")
    if unknown := sorted(found.parameters):
        raise Refused(f"unknown parameter {', '.join(unknown)}: the class may have none")
    if found.mount_options:
        raise Refused("a folder is not mounted with options: leave out mountOptions of the class")


def _volume(claim: core.PersistentVolumeClaim, found: storage.StorageClass, node: core.Node) -> core.PersistentVolume:
    name, folders = node.metadata.name, node.metadata.annotations.get(FOLDERS, "")
    if not folders.startswith("/"):
        raise Refused(f'node "{name}" has no place for such volumes')
    if len(name) > LONGEST_LABEL:
        raise Refused(f'the name of node "{name}" is longer than {LONGEST_LABEL} characters, which no label takes')
    made = core.PersistentVolume()
    made.metadata.name = volume_name(claim)
    made.metadata.annotations[PROVISIONED_BY] = PROVISIONER
    made.metadata.labels[NODE_LABEL] = name
    made.metadata.finalizers.append(FINALIZER)
    spec = made.spec
    spec.capacity[STORAGE].CopyFrom(claim.spec.resources.requests[STORAGE])
    spec.access_modes.extend(claim.spec.access_modes)
    spec.persistent_volume_reclaim_policy = found.reclaim_policy or "Delete"
    spec.storage_class_name = storage_class_of(claim)
    spec.volume_mode = claim.spec.volume_mode
    spec.persistent_volume_source.local.path = f"{folders.rstrip('/')}/{made.metadata.name}"
    term = spec.node_affinity.required.node_selector_terms.add()
    term.match_expressions.add(key=HOSTNAME, operator="In", values=[node.metadata.labels.get(HOSTNAME, name)])
    refer_to_claim(made, claim)
    return made


def _failed(found: storage.StorageClass, words: str) -> Told:
    return Told("ProvisioningFailed", f'failed to provision volume with StorageClass "{found.metadata.name or CLASS}": {words}', True)
