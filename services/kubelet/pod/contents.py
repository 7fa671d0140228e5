"""What can lie at a volume of a pod, as types."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.kubelet.csi.volume import DriverVolume

DEFAULT_MODE = 0o644


class VolumeError(Exception):
    """A volume cannot be set up: the message of the event, which has this reason."""

    reason = "FailedMount"


class DeviceError(VolumeError):
    """Of a volume that is to be shown as a block device."""

    reason = "FailedMapVolume"


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume; ``path`` is relative and never leaves the volume. ``owner`` is a user id, the kubelet's own unless given."""

    path: str
    data: bytes
    mode: int = DEFAULT_MODE
    owner: int | None = None


@dataclass(frozen=True, slots=True)
class HostDirectory:
    """A path of the node; ``kind`` is the hostPath type. ``owned``: its files are given to the pod's fsGroup. ``made``: it is a folder of
    the kubelet's own, and made where it is missing. ``size_bytes``: what it is held to then, where the file system can; 0: nothing."""

    path: str
    kind: str = ""
    read_only: bool = False
    owned: bool = False
    made: bool = False
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A device of the node, shown to containers as one."""

    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class NetworkDirectory:
    """A directory of an NFS server, mounted with these options."""

    server: str
    path: str
    read_only: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageDirectory:
    """The root file system of an image, which is fetched for each container that mounts it, as its own image is."""

    reference: str
    policy: str = ""
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class EmptyDirectory:
    """``size_bytes`` 0: no limit, meant for ``memory`` only. ``mode`` None: any user of the pod may write."""

    memory: bool = False
    size_bytes: int = 0
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """Content that is written and kept current; a container only reads it. ``secret``: it belongs on no disk. ``token``: one of the pod's
    account is among it."""

    files: tuple[File, ...] = field(default=())
    secret: bool = False
    token: bool = False


Content = HostDirectory | BlockDevice | EmptyDirectory | NetworkDirectory | ImageDirectory | DriverVolume | Files
