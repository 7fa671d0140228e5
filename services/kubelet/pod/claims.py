"""What a pod's claims stand for on the node. Pure.

A volume of the class local-path lies where this node keeps such folders, and nowhere else: what a volume says of its path is held against
that, so that no object of the API makes a kubelet make or remove a folder elsewhere.
"""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.binding import BOUND, size_bytes_of
from knarr.objects.local_path import NODE_LABEL, is_local_path
from knarr.objects.owners import is_controlled_by
from knarr.objects.pods import every_container
from knarr.objects.volumes import BLOCK, FILESYSTEM, ephemeral_claim_name
from services.kubelet.csi.volume import persistent
from services.kubelet.node.view import NodeView
from services.kubelet.pod.contents import BlockDevice, Content, HostDirectory, NetworkDirectory, VolumeError
from services.kubelet.pod.references import References


def claimed(pod: core.Pod, volume: core.Volume, references: References, node: NodeView) -> Content:
    """Raises VolumeError, in Kubernetes' words, while the claim has no volume that can be mounted."""
    source, namespace = volume.volume_source, pod.metadata.namespace
    made = source.HasField("ephemeral")
    name = ephemeral_claim_name(pod, volume) if made else source.persistent_volume_claim.claim_name
    claim = references.claims.get(name)
    if claim is None:
        raise VolumeError(f'error processing PVC {namespace}/{name}: persistentvolumeclaim "{name}" not found')
    if made and not is_controlled_by(claim, pod):
        raise VolumeError(f"error processing PVC {namespace}/{name}: PVC was not created for pod (pod is not owner)")
    if claim.status.phase != BOUND or not claim.spec.volume_name:
        found = f'PVC has non-bound phase ("{claim.status.phase}") or empty pvc.Spec.VolumeName ("{claim.spec.volume_name}")'
        raise VolumeError(f"error processing PVC {namespace}/{name}: {found}")
    held = references.volumes.get(claim.spec.volume_name)
    if held is None or held.spec.claim_ref.uid != claim.metadata.uid:
        raise VolumeError(f"error processing PVC {namespace}/{name}: PV {claim.spec.volume_name} is not there, or not this claim's")
    mode = held.spec.volume_mode or FILESYSTEM
    for unfit, words in ((mode == BLOCK, "volumeMounts"), (mode != BLOCK, "volumeDevices")):
        if unfit and volume.name in _named(pod, words):
            raise VolumeError(f"volume {volume.name} has volumeMode {mode}, but is specified in {words}")
    return _content(held, claim, node, read_only=source.persistent_volume_claim.read_only)


def _named(pod: core.Pod, where: str) -> set[str]:
    """The volumes that containers have among their ``volumeMounts`` or ``volumeDevices``."""
    specs = every_container(pod.spec)
    return {named.name for spec in specs for named in (spec.volume_mounts if where == "volumeMounts" else spec.volume_devices)}


def network_directory(source: core.NFSVolumeSource, *, read_only: bool = False, options: tuple[str, ...] = ()) -> NetworkDirectory:
    return NetworkDirectory(source.server, source.path, read_only or source.read_only, options)


def _content(volume: core.PersistentVolume, claim: core.PersistentVolumeClaim, node: NodeView, *, read_only: bool) -> Content:
    name, source, options = volume.metadata.name, volume.spec.persistent_volume_source, tuple(volume.spec.mount_options)
    if source.HasField("csi"):
        return persistent(volume, claim, read_only=read_only)
    if volume.spec.volume_mode == BLOCK:
        return _device(volume, read_only=read_only)
    if source.HasField("nfs"):
        return network_directory(source.nfs, read_only=read_only, options=options)
    if options:
        raise VolumeError(f"PV {name} has mountOptions, which only a volume of type nfs may have")
    if is_local_path(volume):
        return _folder(volume, node, read_only=read_only)
    if source.HasField("local"):
        return HostDirectory(source.local.path, "Directory", read_only, owned=True)
    if source.HasField("host_path"):
        return HostDirectory(source.host_path.path, source.host_path.type, read_only)
    kinds = [descriptor.json_name for descriptor, _ in source.ListFields()]
    raise VolumeError(f"no volume plugin matched: this kubelet has none for {', '.join(kinds) or 'an empty source'} of PV {name}")


def _device(volume: core.PersistentVolume, *, read_only: bool) -> BlockDevice:
    source = volume.spec.persistent_volume_source
    for kind in ("local", "host_path"):
        if source.HasField(kind) and not is_local_path(volume):
            return BlockDevice(getattr(source, kind).path, read_only)
    kinds = "local-path" if is_local_path(volume) else ", ".join(descriptor.json_name for descriptor, _ in source.ListFields())
    raise VolumeError(f"no volume plugin matched: this kubelet has none that shows {kinds} of PV {volume.metadata.name} as a block device")


def _folder(volume: core.PersistentVolume, node: NodeView, *, read_only: bool) -> HostDirectory:
    name, there = volume.metadata.name, volume.metadata.labels.get(NODE_LABEL, "")
    if there != node.name:
        raise VolumeError(f'PV {name} is a folder of node "{there}", and this is "{node.name}"')
    path = volume.spec.persistent_volume_source.local.path
    if not node.folders or path != f"{node.folders}/{name}":
        raise VolumeError(f"PV {name} says that its folder is {path}, and this node keeps it at {node.folders}/{name}")
    return HostDirectory(path, read_only=read_only, owned=True, made=True, size_bytes=size_bytes_of(volume))
