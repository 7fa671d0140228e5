"""How a volume is going to be used, as a driver is told it. Pure. Specified by Kubernetes' sidecars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import volume_pb2 as csi
from knarr.client.reconciler import Expected
from knarr.objects.csi import FINE_MODES, MODES, Mode
from knarr.objects.csi import capability as told_of
from knarr.objects.volumes import BLOCK, ONE_POD
from services.controller.csi.driver import RPC, Abilities


class Refused(Expected):
    """What an object asks for cannot be asked of a driver: the words of the event."""


def access_mode(modes: Iterable[str], abilities: Abilities) -> Mode.Mode:
    """The one mode that stands for a volume's. Raises Refused."""
    wanted = frozenset(modes)
    if ONE_POD in wanted and len(wanted) > 1:
        raise Refused("Kubernetes does not support use of ReadWriteOncePod with other access modes on the same PersistentVolume")
    # Who may write everywhere may do all else.
    counts = frozenset({"ReadWriteMany"}) if "ReadWriteMany" in wanted else wanted & MODES.keys()
    if len(counts) > 1:
        raise Refused("CSI does not support ReadOnlyMany and ReadWriteOnce on the same PersistentVolume")
    if not counts:
        raise Refused(f"unsupported AccessMode combination: {sorted(wanted)}")
    modes = FINE_MODES if abilities.can(RPC.SINGLE_NODE_MULTI_WRITER) else MODES
    return modes[next(iter(counts))]


def capability(
    modes: Iterable[str], volume_mode: str, fs_type: str, mount_options: Sequence[str], abilities: Abilities
) -> csi.VolumeCapability:
    """Raises Refused."""
    return told_of(access_mode(modes, abilities), fs_type, mount_options, block=volume_mode == BLOCK)


def capability_of(volume: core.PersistentVolume, abilities: Abilities) -> csi.VolumeCapability:
    """Of a volume that is there. Raises Refused."""
    spec = volume.spec
    return capability(spec.access_modes, spec.volume_mode, spec.persistent_volume_source.csi.fs_type, spec.mount_options, abilities)
