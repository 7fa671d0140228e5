"""Volumes that are folders of a node: who makes them, and how a volume says that it is one.

The manager decides and writes the volume, the node's kubelet makes the folder and removes it. Neither asks the other: the volume has a
label with its node's name, by which that node alone follows its volumes, and a finalizer that goes when the folder has gone.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.binding import BOUND, PROVISIONED_BY
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.volumes import DEFAULT_CLASS, WAIT_FOR_FIRST_CONSUMER

CLASS, PROVISIONER = "local-path", "knarr.dev/local-path"
# On a Node: where it keeps such folders, an absolute path. A node without it has none.
FOLDERS = "knarr.dev/local-path"
# On a volume: the node that has its folder, as a label; and what keeps the volume until the folder is gone.
NODE_LABEL, FINALIZER = "knarr.dev/local-path-node", "knarr.dev/local-path"


def default_class() -> storage.StorageClass:
    """The class that every cluster begins with."""
    made = storage.StorageClass(
        provisioner=PROVISIONER, reclaim_policy="Delete", volume_binding_mode=WAIT_FOR_FIRST_CONSUMER, allow_volume_expansion=True
    )
    made.metadata.name = CLASS
    made.metadata.annotations[DEFAULT_CLASS] = "true"
    return made


def is_local_path(volume: core.PersistentVolume) -> bool:
    return bool(volume.metadata.annotations.get(PROVISIONED_BY) == PROVISIONER)


def is_to_be_removed(volume: core.PersistentVolume) -> bool:
    """Whether its node has yet to let go of it; one that a claim still has stays as it is."""
    ends = is_local_path(volume) and is_deleting(volume) and FINALIZER in volume.metadata.finalizers
    return ends and volume.status.phase != BOUND


def without_finalizer(volume: core.PersistentVolume) -> core.PersistentVolume:
    """As its node, or who speaks for one that is gone, lets go of it."""
    changed = copy_of(volume)
    changed.metadata.finalizers.remove(FINALIZER)
    return changed


def loses_its_data(volume: core.PersistentVolume) -> bool:
    """Whether the folder goes with the volume."""
    return bool(volume.spec.persistent_volume_reclaim_policy == "Delete")
