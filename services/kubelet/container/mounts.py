"""What a container sees of its pod's volumes, and of the files that the kubelet keeps for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.environment import expand, missing
from services.kubelet.container.inputs import ConfigError, ContainerInputs
from services.kubelet.csi.volume import DriverVolume
from services.kubelet.node.view import NodeView
from services.kubelet.pod.contents import BlockDevice, Content, EmptyDirectory, Files, HostDirectory, ImageDirectory
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.pod.mount_status import NotRecursive, is_recursively_read_only
from services.kubelet.pod.volumes import laid
from services.kubelet.runtime.plan import Device, Mount

TERMINATION_PATH = "/dev/termination-log"
PROPAGATIONS = {"HostToContainer": "rslave", "Bidirectional": "rshared"}


def mounts(inputs: ContainerInputs, env: Mapping[str, str]) -> tuple[Mount, ...]:
    """The volumes, then termination log, /etc/hosts and /etc/resolv.conf where no volume lies, then what comes by devices, in whose place
    lies nothing else. Raises ConfigError and VolumeError."""
    spec, directory = inputs.spec, inputs.directory
    volumes = _volumes(inputs, {wanted.name for wanted in spec.volume_mounts})
    found = [_mount(wanted, index, volumes, env, inputs) for index, wanted in enumerate(spec.volume_mounts)]
    targets = {mount.target for mount in found}
    own = (
        Mount(str(directory.termination_log(spec.name, inputs.attempt)), spec.termination_message_path or TERMINATION_PATH),
        Mount(str(directory.hosts), "/etc/hosts"),
        Mount(str(directory.resolv_conf), "/etc/resolv.conf"),
    )
    given = {mount.target for mount in inputs.edits.mounts}
    asked = (*found, *(mount for mount in own if mount.target not in targets))
    return (*(mount for mount in asked if mount.target not in given), *inputs.edits.mounts)


def devices(inputs: ContainerInputs) -> tuple[Device, ...]:
    """The block volumes of the container, and what its claims give it. Raises ConfigError and VolumeError."""
    wanted = inputs.spec.volume_devices
    volumes = _volumes(inputs, {one.name for one in wanted})
    return (*(_device(one, volumes, inputs.directory) for one in wanted), *inputs.edits.devices)


def _volumes(inputs: ContainerInputs, names: set[str]) -> dict[str, Content]:
    """Those that the container shows, by name. Raises VolumeError."""
    pod = inputs.pod
    return {volume.name: laid(pod, volume, inputs.references, inputs.node) for volume in pod.spec.volumes if volume.name in names}


def _device(wanted: core.VolumeDevice, volumes: Mapping[str, Content], directory: PodDirectory) -> Device:
    content = volumes.get(wanted.name)
    if isinstance(content, BlockDevice):
        return Device(content.path, wanted.device_path, content.read_only)
    if isinstance(content, DriverVolume) and content.block:
        return Device(str(directory.driver_path(content.name)), wanted.device_path, content.read_only)
    raise ConfigError(f'volume "{wanted.name}" of volumeDevices is no block volume of the pod')


def _source(name: str, content: Content, directory: PodDirectory) -> str:
    if isinstance(content, HostDirectory):
        return content.path
    return str(directory.driver_path(content.name) if isinstance(content, DriverVolume) else directory.volume_path(name))


def _mount(wanted: core.VolumeMount, index: int, volumes: Mapping[str, Content], env: Mapping[str, str], inputs: ContainerInputs) -> Mount:
    if wanted.name not in volumes:
        raise ConfigError(f'volume "{wanted.name}" of volumeMounts is not among the pod\'s volumes')
    content, directory = volumes[wanted.name], inputs.directory
    image = isinstance(content, ImageDirectory)
    volume = inputs.images.get(wanted.name, "") if image else _source(wanted.name, content, directory)
    sub_path = _sub_path(wanted, env)
    # What the kubelet writes into a volume, its containers never change.
    read_only = wanted.read_only or isinstance(content, Files) or (not isinstance(content, EmptyDirectory) and content.read_only)
    recursive = _is_recursive(wanted, inputs.node)
    attributes = tuple(dict.fromkeys((*(("noexec",) if image else ()), *wanted.bind_mount_options)))
    if recursive or (attributes and read_only):
        attributes, read_only = ("ro", *attributes), False
    own = bool(sub_path or attributes)
    return Mount(
        source=str(directory.sub_path(wanted.name, inputs.spec.name, index)) if own else volume,
        target=wanted.mount_path if wanted.mount_path.startswith("/") else f"/{wanted.mount_path}",
        read_only=read_only,
        propagation=PROPAGATIONS.get(wanted.mount_propagation, ""),
        volume=volume if own else "",
        sub_path=sub_path,
        attributes=attributes,
        recursive=recursive,
        complete=image,
    )


def _is_recursive(wanted: core.VolumeMount, node: NodeView) -> bool:
    try:
        return is_recursively_read_only(wanted, can=node.recursive_read_only)
    except NotRecursive as error:
        raise ConfigError(str(error)) from error


def _sub_path(wanted: core.VolumeMount, env: Mapping[str, str]) -> str:
    if unknown := missing(wanted.sub_path_expr, env):
        raise ConfigError(f"failed to prepare subPathExpr of volume {wanted.name}: missing value for {', '.join(unknown)}")
    sub_path = expand(wanted.sub_path_expr, env) if wanted.sub_path_expr else wanted.sub_path
    if sub_path.startswith("/") or ".." in sub_path.split("/") or "\0" in sub_path:
        raise ConfigError(f"subPath {sub_path!r} of volume {wanted.name} must be relative and may not contain '..'")
    return sub_path
