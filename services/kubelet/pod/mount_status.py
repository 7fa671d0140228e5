"""Whether a mount is read-only throughout, and what the status says of a container's mounts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from knarr.api.core.v1 import core_pb2 as core

ENABLED, IF_POSSIBLE, DISABLED = "Enabled", "IfPossible", "Disabled"


class NotRecursive(Exception):
    """Why a mount cannot be read-only throughout, in Kubernetes' words."""


def is_recursively_read_only(mount: core.VolumeMount, *, can: bool) -> bool:
    """Whether what is mounted below a volume is read-only too; ``can``: the node is able to do that. Raises NotRecursive."""
    if mount.recursive_read_only in ("", DISABLED):
        return False
    words = f'volume "{mount.name}" requested recursive read-only mode, but it is not'
    if not mount.read_only:
        raise NotRecursive(f"{words} read-only")
    if mount.mount_propagation not in ("", "None"):
        raise NotRecursive(f'{words} compatible with propagation "{mount.mount_propagation}"')
    if not can and mount.recursive_read_only == ENABLED:
        raise NotRecursive(f"{words} supported by the runtime")
    return can


def mount_statuses(spec: core.Container, images: Mapping[str, str], *, can: bool) -> Iterator[core.VolumeMountStatus]:
    """Of a container's mounts, in their order; ``images`` are those that volumes show, by the volumes' names."""
    for mount in spec.volume_mounts:
        status = core.VolumeMountStatus(name=mount.name, mount_path=mount.mount_path, read_only=mount.read_only)
        if mount.read_only:
            status.recursive_read_only = _told(mount, can=can)
        if mount.name in images:
            status.volume_status.image.image_ref = images[mount.name]
        yield status


def _told(mount: core.VolumeMount, *, can: bool) -> str:
    try:
        return ENABLED if is_recursively_read_only(mount, can=can) else DISABLED
    except NotRecursive:
        return DISABLED
