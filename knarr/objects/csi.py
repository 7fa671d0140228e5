"""Volumes of CSI drivers: what they and their attachments are called, who attaches them, and what a driver tells of a node.

Names are Kubernetes' to the letter: the sidecars that drivers bring, and a cluster's state that moves here or away, know volumes by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import volume_pb2 as csi
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.volumes import ONE_POD

Mode = csi.VolumeCapability.AccessMode
# What a driver is told of the modes of a volume; one with SINGLE_NODE_MULTI_WRITER tells the writers of one node apart.
MODES = {
    "ReadWriteOnce": Mode.SINGLE_NODE_WRITER,
    ONE_POD: Mode.SINGLE_NODE_WRITER,
    "ReadOnlyMany": Mode.MULTI_NODE_READER_ONLY,
    "ReadWriteMany": Mode.MULTI_NODE_MULTI_WRITER,
}
FINE_MODES = MODES | {"ReadWriteOnce": Mode.SINGLE_NODE_MULTI_WRITER, ONE_POD: Mode.SINGLE_NODE_SINGLE_WRITER}
# The fields of a volume that name Secrets for its driver's part on nodes.
NODE_SECRETS = ("node_stage_secret_ref", "node_publish_secret_ref", "node_expand_secret_ref")


def source_of(volume: core.PersistentVolume) -> core.CSIPersistentVolumeSource | None:
    """What a driver knows the volume by; None where it is no driver's."""
    source = volume.spec.persistent_volume_source
    return source.csi if source.HasField("csi") else None


def secret_of(source: core.CSIPersistentVolumeSource, field: str) -> tuple[str, str] | None:
    """Namespace and name of the Secret that a volume names in a field; None where it names none."""
    found = getattr(source, field)
    return (found.namespace, found.name) if source.HasField(field) else None


def capability(mode: Mode.Mode, fs_type: str, options: Iterable[str], *, block: bool) -> csi.VolumeCapability:
    """How a volume is to be used, as a driver is told it; a block device has no file system and no options."""
    told = csi.VolumeCapability(access_mode={"mode": mode})
    if block:
        told.block.SetInParent()
    else:
        told.mount.fs_type = fs_type
        told.mount.mount_flags.extend(options)
    return told


def attachment_name(handle: str, driver: str, node: str) -> str:
    """The name of the VolumeAttachment of a volume to a node."""
    return f"csi-{sha256(f'{handle}{driver}{node}'.encode()).hexdigest()}"


def volume_id(driver: str, handle: str) -> str:
    """What a Node calls a volume in ``status.volumesAttached`` and ``status.volumesInUse``."""
    return f"kubernetes.io/csi/{driver}^{handle}"


def is_attached_first(driver: storage.CSIDriver | None) -> bool:
    """Whether a volume is attached to a node before it is mounted there; so it is where nothing is known of the driver."""
    return driver is None or driver.spec.attach_required or not driver.spec.HasField("attach_required")


def driver_on(node: storage.CSINode | None, driver: str) -> storage.CSINodeDriver | None:
    """What a driver says of the node that it runs on; None where it does not run."""
    found = (one for one in (node.spec.drivers if node is not None else ()) if one.name == driver)
    return next(found, None)
