"""How a volume is going to be used, as a driver is told it. Pure. Specified by Kubernetes' sidecars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import volume_pb2 as csi
from knarr.client.reconciler import Expected
from knarr.objects.volumes import BLOCK, ONE_POD
from services.controller.csi.driver import RPC, Abilities

Mode = csi.VolumeCapability.AccessMode


class Refused(Expected):
    """What an object asks for cannot be asked of a driver: the words of the event."""


def access_mode(modes: Iterable[str], abilities: Abilities) -> Mode.Mode:
    """The one mode that stands for a volume's. Raises Refused."""
    wanted = frozenset(modes)
    apart = abilities.can(RPC.SINGLE_NODE_MULTI_WRITER)
    if ONE_POD in wanted:
        if len(wanted) > 1:
            raise Refused("Kubernetes does not support use of ReadWriteOncePod with other access modes on the same PersistentVolume")
        return Mode.SINGLE_NODE_SINGLE_WRITER if apart else Mode.SINGLE_NODE_WRITER
    if "ReadWriteMany" in wanted:
        return Mode.MULTI_NODE_MULTI_WRITER
    if {"ReadOnlyMany", "ReadWriteOnce"} <= wanted:
        raise Refused("CSI does not support ReadOnlyMany and ReadWriteOnce on the same PersistentVolume")
    if "ReadOnlyMany" in wanted:
        return Mode.MULTI_NODE_READER_ONLY
    if "ReadWriteOnce" in wanted:
        return Mode.SINGLE_NODE_MULTI_WRITER if apart else Mode.SINGLE_NODE_WRITER
    raise Refused(f"unsupported AccessMode combination: {sorted(wanted)}")


def capability(
    modes: Iterable[str], volume_mode: str, fs_type: str, mount_options: Sequence[str], abilities: Abilities
) -> csi.VolumeCapability:
    """Raises Refused."""
    made = csi.VolumeCapability()
    made.access_mode.mode = access_mode(modes, abilities)
    if volume_mode == BLOCK:
        made.block.SetInParent()
    else:
        made.mount.fs_type = fs_type
        made.mount.mount_flags.extend(mount_options)
    return made


def capability_of(volume: core.PersistentVolume, abilities: Abilities) -> csi.VolumeCapability:
    """Of a volume that is there. Raises Refused."""
    spec = volume.spec
    return capability(spec.access_modes, spec.volume_mode, spec.persistent_volume_source.csi.fs_type, spec.mount_options, abilities)
