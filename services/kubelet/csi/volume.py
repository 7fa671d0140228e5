"""A volume of a driver, as a pod has it, and how a driver is told of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import volume_pb2 as csi
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery import quantity
from knarr.objects.csi import FINE_MODES, MODES, Mode, secret_of
from knarr.objects.csi import capability as told_of
from knarr.objects.volumes import BLOCK, ONE_POD, STORAGE
from services.kubelet.csi.client import RPC, DriverError

PERSISTENT, EPHEMERAL = "Persistent", "Ephemeral"
# What a pod is told by to a driver that wants to know.
POD = "csi.storage.k8s.io"

# A driver and its handle of a volume.
VolumeKey = tuple[str, str]
# The namespace and name of a Secret.
SecretRef = tuple[str, str]


@dataclass(frozen=True, slots=True)
class DriverVolume:
    """``name`` is the PersistentVolume's; of a volume that a pod has by itself (``inline``) its own. ``claim`` is the key of the claim,
    and ``claimed`` what its status says that it has, ``size`` what the PersistentVolume has: quantities, empty where nothing is said."""

    driver: str
    handle: str
    name: str
    inline: bool = False
    read_only: bool = False
    block: bool = False
    fs_type: str = ""
    options: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    access_modes: tuple[str, ...] = ()
    stage_secret: SecretRef | None = None
    publish_secret: SecretRef | None = None
    expand_secret: SecretRef | None = None
    claim: tuple[str, str] | None = None
    size: str = ""
    claimed: str = ""

    @property
    def key(self) -> VolumeKey:
        return self.driver, self.handle

    @property
    def lifecycle(self) -> str:
        return EPHEMERAL if self.inline else PERSISTENT

    @property
    def size_bytes(self) -> int:
        return quantity.value(self.size) if self.size else 0

    @property
    def has_grown(self) -> bool:
        """Whether the claim does not say yet that it has all that the volume has by now."""
        return bool(self.claim and self.size and self.claimed and quantity.compare(self.size, self.claimed) > 0)


def persistent(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim, *, read_only: bool) -> DriverVolume:
    source = volume.spec.persistent_volume_source.csi
    return DriverVolume(
        driver=source.driver,
        handle=source.volume_handle,
        name=volume.metadata.name,
        read_only=read_only or source.read_only,
        block=volume.spec.volume_mode == BLOCK,
        fs_type=source.fs_type,
        options=tuple(volume.spec.mount_options),
        attributes=dict(source.volume_attributes),
        access_modes=tuple(volume.spec.access_modes),
        stage_secret=secret_of(source, "node_stage_secret_ref"),
        publish_secret=secret_of(source, "node_publish_secret_ref"),
        expand_secret=secret_of(source, "node_expand_secret_ref"),
        claim=(claim.metadata.namespace, claim.metadata.name),
        size=volume.spec.capacity[STORAGE].string if STORAGE in volume.spec.capacity else "",
        claimed=claim.status.capacity[STORAGE].string if STORAGE in claim.status.capacity else "",
    )


def inline(pod: core.Pod, volume: core.Volume) -> DriverVolume:
    """Its handle is of the kubelet's making, by pod and volume, as Kubernetes makes it."""
    source = volume.volume_source.csi
    secret = source.node_publish_secret_ref.name
    return DriverVolume(
        driver=source.driver,
        handle=f"csi-{sha256(f'{pod.metadata.uid}{volume.name}'.encode()).hexdigest()}",
        name=volume.name,
        inline=True,
        read_only=source.read_only,
        fs_type=source.fs_type,
        attributes=dict(source.volume_attributes),
        publish_secret=(pod.metadata.namespace, secret) if secret else None,
    )


def capability(volume: DriverVolume, can: frozenset[int], group: int | None) -> csi.VolumeCapability:
    """How a volume is to be used; ``group`` is told to drivers alone that give files to it by themselves."""
    modes = FINE_MODES if RPC.SINGLE_NODE_MULTI_WRITER in can else MODES
    mode = modes.get(volume.access_modes[0] if volume.access_modes else "ReadWriteOnce", Mode.UNKNOWN)
    said = told_of(mode, volume.fs_type, volume.options, block=volume.block)
    if group is not None and RPC.VOLUME_MOUNT_GROUP in can and not volume.block:
        said.mount.volume_mount_group = str(group)
    return said


def check_lifecycle(volume: DriverVolume, rules: storage.CSIDriver | None) -> None:
    """Whether the driver serves volumes of the kind. Raises DriverError, in Kubernetes' words."""
    modes = list(rules.spec.volume_lifecycle_modes) if rules is not None else [PERSISTENT]
    if volume.lifecycle in modes:
        return
    if rules is None:
        raise DriverError(f'volume mode "{EPHEMERAL}" not supported by driver {volume.driver} (no CSIDriver object)')
    raise DriverError(f'volume mode "{volume.lifecycle}" not supported by driver {volume.driver} (only supports {modes})')


def pod_attributes(pod: core.Pod, volume: DriverVolume, rules: storage.CSIDriver | None) -> dict[str, str]:
    """What a driver is told of the pod that mounts its volume, where its CSIDriver asks for that."""
    if rules is None or not rules.spec.pod_info_on_mount:
        return {}
    return {
        f"{POD}/pod.name": pod.metadata.name,
        f"{POD}/pod.namespace": pod.metadata.namespace,
        f"{POD}/pod.uid": pod.metadata.uid,
        f"{POD}/serviceAccount.name": pod.spec.service_account_name,
        f"{POD}/ephemeral": "true" if volume.inline else "false",
    }


def is_given_to_group(volume: DriverVolume, can: frozenset[int], rules: storage.CSIDriver | None) -> bool:
    """Whether the kubelet gives the files of a volume to its pod's ``fsGroup``, by the driver's ``fsGroupPolicy``."""
    if volume.read_only or volume.block or RPC.VOLUME_MOUNT_GROUP in can:
        return False
    policy = rules.spec.fs_group_policy if rules is not None else ""
    if policy == "File":
        return True
    once = any(mode in ("ReadWriteOnce", ONE_POD) for mode in volume.access_modes)
    return policy != "None" and bool(volume.fs_type) and once
