"""Attachments: what a driver is asked about each, and what is written of its answer. Pure. Specified by Kubernetes' external attacher."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import controller_pb2 as pb
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery.times import to_time
from knarr.objects.copies import copy_of
from knarr.objects.csi import driver_on, source_of
from knarr.objects.keys import is_deleting
from services.controller.csi.capabilities import Refused, capability_of
from services.controller.csi.driver import RPC, Abilities

# What a driver calls the node, kept for when the node does not say it any more.
NODE_ID = "csi.alpha.kubernetes.io/node-id"


def finalizer_of(driver: str) -> str:
    """What keeps an attachment until its driver has let go of the volume, and a volume while attachments name it."""
    name = re.sub("[^a-zA-Z0-9-]", "-", driver)
    return f"external-attacher/{name}{'X' * name.endswith('-')}"


def spec_of(found: storage.VolumeAttachment, volume: core.PersistentVolume | None) -> core.PersistentVolume:
    """What is attached: the volume that is named, or one that is written out. Raises Refused."""
    source = found.spec.source
    if source.HasField("inline_volume_spec"):
        written = core.PersistentVolume(spec=source.inline_volume_spec)
        written.metadata.name = found.metadata.name
        return written
    if volume is None:
        raise Refused(f'persistentvolume "{source.persistent_volume_name}" not found')
    if source_of(volume) is None:
        raise Refused("pv spec contained non-csi source that was not migrated")
    return volume


def node_id(found: storage.VolumeAttachment, told: storage.CSINode | None, *, kept: bool = False) -> str:
    """What the driver calls the node; ``kept``: what it was called when it was attached will do. Raises Refused."""
    node, attacher = found.spec.node_name, found.spec.attacher
    there = driver_on(told, attacher)
    if there is not None:
        return str(there.node_id)
    if kept and NODE_ID in found.metadata.annotations:
        return str(found.metadata.annotations[NODE_ID])
    raise Refused(f'csinode.storage.k8s.io "{node}" not found' if told is None else f"CSINode {node} does not contain driver {attacher}")


def marked(found: storage.VolumeAttachment, node: str) -> storage.VolumeAttachment | None:
    """The attachment as it must be before its driver is asked; None where it is."""
    changed, finalizer = copy_of(found), finalizer_of(found.spec.attacher)
    if finalizer not in found.metadata.finalizers:
        changed.metadata.finalizers.append(finalizer)
    changed.metadata.annotations[NODE_ID] = node
    return None if changed == found else changed


def publish_request(
    volume: core.PersistentVolume, node: str, abilities: Abilities, secrets: Mapping[str, str]
) -> pb.ControllerPublishVolumeRequest:
    """Raises Refused."""
    source = volume.spec.persistent_volume_source.csi
    return pb.ControllerPublishVolumeRequest(
        volume_id=source.volume_handle,
        node_id=node,
        volume_capability=capability_of(volume, abilities),
        readonly=source.read_only and abilities.can(RPC.PUBLISH_READONLY),
        secrets=dict(secrets),
        volume_context=source.volume_attributes,
    )


def attached(found: storage.VolumeAttachment, metadata: Mapping[str, str]) -> storage.VolumeAttachment:
    changed = copy_of(found)
    changed.status.Clear()
    changed.status.attached = True
    changed.status.attachment_metadata.update(metadata)
    return changed


def failed(found: storage.VolumeAttachment, words: str, code: int | None, now: datetime) -> storage.VolumeAttachment:
    """The attachment as it tells what went wrong: with attaching, or with detaching where it is to go. ``code``: gRPC's number."""
    changed = copy_of(found)
    error = changed.status.detach_error if is_deleting(found) else changed.status.attach_error
    error.message = words
    error.time.CopyFrom(to_time(now))
    if code is not None and not is_deleting(found):
        error.error_code = code
    return changed


def says(found: storage.VolumeAttachment, words: str) -> bool:
    """Whether it tells that already."""
    error = found.status.detach_error if is_deleting(found) else found.status.attach_error
    return bool(error.message == words)
