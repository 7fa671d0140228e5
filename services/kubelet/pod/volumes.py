"""A pod's volumes: what belongs into them (pure), and how it is laid on disk.

Files from ConfigMaps, Secrets and the downward API are written as Kubernetes lays them: a
timestamped directory, the link ``..data`` to it, and a link per entry through ``..data``. An update
writes a new directory and swings the one link, so readers see all old or all new content.
"""

from __future__ import annotations

import codecs
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from services.kubelet.node.mounts import mount_tmpfs, unmount
from services.kubelet.node.view import NodeView
from services.kubelet.pod.downward import UnknownField, field_value, resource_value
from services.kubelet.pod.references import References

DEFAULT_MODE = 0o644
GROUP_READ = 0o440
DATA_LINK = "..data"


# Looked up now: a thread with other mounts could not import it.
codecs.lookup("unicode_escape")


class VolumeError(Exception):
    """A volume cannot be set up: the message of the FailedMount event."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume; ``path`` is relative and never leaves the volume."""

    path: str
    data: bytes
    mode: int = DEFAULT_MODE


@dataclass(frozen=True, slots=True)
class HostDirectory:
    """A path of the node; ``kind`` is the hostPath type."""

    path: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class EmptyDirectory:
    """``size_bytes`` 0: no limit, meant for ``memory`` only."""

    memory: bool = False
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Files:
    """Content that is written and kept current."""

    files: tuple[File, ...] = field(default=())


Content = HostDirectory | EmptyDirectory | Files


def contents(pod: core.Pod, references: References, node: NodeView, pod_ip: str = "") -> dict[str, Content]:
    """What belongs into each volume, by name; raises VolumeError naming the volume."""
    result: dict[str, Content] = {}
    for volume in pod.spec.volumes:
        try:
            result[volume.name] = _content(pod, volume.volume_source, references, node, pod_ip)
        except (VolumeError, UnknownField) as error:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from error
    return result


def _content(pod: core.Pod, source: core.VolumeSource, references: References, node: NodeView, pod_ip: str) -> Content:
    if source.HasField("empty_dir"):
        limit = source.empty_dir.size_limit.string
        return EmptyDirectory(source.empty_dir.medium == "Memory", quantity.value(limit) if limit else 0)
    if source.HasField("host_path"):
        return HostDirectory(source.host_path.path, source.host_path.type)
    if source.HasField("config_map"):
        config = source.config_map
        name = config.local_object_reference.name
        return Files(_config_map(references, name, config.items, _mode(config), config.optional, pod.metadata.namespace))
    if source.HasField("secret"):
        secret = source.secret
        return Files(_secret(references, secret.secret_name, secret.items, _mode(secret), secret.optional, pod.metadata.namespace))
    if source.HasField("downward_api"):
        return Files(_downward(pod, source.downward_api.items, _mode(source.downward_api), node, pod_ip))
    if source.HasField("projected"):
        return Files(_projected(pod, source.projected, references, node, pod_ip))
    kinds = [descriptor.json_name for descriptor, _ in source.ListFields()]
    raise VolumeError(f"no volume plugin matched: this kubelet has none for {', '.join(kinds) or 'an empty source'}")


def _mode(source: core.ConfigMapVolumeSource | core.SecretVolumeSource | core.DownwardAPIVolumeSource | core.ProjectedVolumeSource) -> int:
    return int(source.default_mode) if source.HasField("default_mode") else DEFAULT_MODE


def _projected(pod: core.Pod, source: core.ProjectedVolumeSource, references: References, node: NodeView, pod_ip: str) -> tuple[File, ...]:
    mode = _mode(source)
    files: list[File] = []
    for part in source.sources:
        if part.HasField("config_map"):
            one = part.config_map
            files += _config_map(references, one.local_object_reference.name, one.items, mode, one.optional, pod.metadata.namespace)
        elif part.HasField("secret"):
            other = part.secret
            files += _secret(references, other.local_object_reference.name, other.items, mode, other.optional, pod.metadata.namespace)
        elif part.HasField("downward_api"):
            files += _downward(pod, part.downward_api.items, mode, node, pod_ip)
        else:
            kinds = [descriptor.json_name for descriptor, _ in part.ListFields()]
            raise VolumeError(f"this kubelet cannot project {', '.join(kinds) or 'an empty source'}")
    return tuple({file.path: file for file in files}.values())


def _config_map(
    references: References, name: str, items: Iterable[core.KeyToPath], mode: int, optional: bool, namespace: str
) -> tuple[File, ...]:
    found = references.config_maps.get(name)
    if found is None:
        if optional:
            return ()
        raise VolumeError(f'configmap "{name}" not found')
    data = {**{key: found.data[key].encode() for key in found.data}, **{key: found.binary_data[key] for key in found.binary_data}}
    return _chosen(data, items, mode, optional, f"configmap {namespace}/{name}")


def _secret(
    references: References, name: str, items: Iterable[core.KeyToPath], mode: int, optional: bool, namespace: str
) -> tuple[File, ...]:
    found = references.secrets.get(name)
    if found is None:
        if optional:
            return ()
        raise VolumeError(f'secret "{name}" not found')
    return _chosen({key: found.data[key] for key in found.data}, items, mode, optional, f"secret {namespace}/{name}")


def _chosen(data: Mapping[str, bytes], items: Iterable[core.KeyToPath], mode: int, optional: bool, owner: str) -> tuple[File, ...]:
    wanted = list(items)
    if not wanted:
        return tuple(File(_safe(key), data[key], mode) for key in sorted(data))
    files = []
    for item in wanted:
        if item.key in data:
            files.append(File(_safe(item.path), data[item.key], item.mode if item.HasField("mode") else mode))
        elif not optional:
            raise VolumeError(f"references non-existent config key: {item.key} of {owner}")
    return tuple(files)


def _downward(pod: core.Pod, items: Iterable[core.DownwardAPIVolumeFile], mode: int, node: NodeView, pod_ip: str) -> tuple[File, ...]:
    files = []
    for item in items:
        if item.HasField("field_ref"):
            text = field_value(pod, item.field_ref.field_path, node, pod_ip)
        else:
            text = resource_value(pod, item.resource_field_ref, "", node)
        files.append(File(_safe(item.path), text.encode(), item.mode if item.HasField("mode") else mode))
    return tuple(files)


def _safe(path: str) -> str:
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise VolumeError(f"invalid path {path!r}: it must be relative and may not contain '..'")
    return path


class PodDirectory:
    """The directory of one pod on the node: its volumes and the files the kubelet makes for it."""

    def __init__(self, data_dir: Path, uid: str) -> None:
        self.root = data_dir / "pods" / uid

    def volume_path(self, name: str) -> Path:
        return self.root / "volumes" / name

    def termination_log(self, container: str, attempt: int) -> Path:
        return self.root / "containers" / container / f"{attempt}.log"

    @property
    def hosts(self) -> Path:
        return self.root / "etc-hosts"

    @property
    def resolv_conf(self) -> Path:
        return self.root / "resolv.conf"

    def set_up(self, volumes: Mapping[str, Content], group: int | None = None) -> None:
        """Makes what is not there yet and brings files up to date; may be repeated. Raises VolumeError."""
        self.root.mkdir(parents=True, exist_ok=True)
        for name, content in volumes.items():
            if isinstance(content, HostDirectory):
                check_host_path(content)
                continue
            path = self.volume_path(name)
            path.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Files):
                write_files(path, content.files, group)
            elif content.memory:
                mount_memory(path, content.size_bytes)
            elif group is None:
                path.chmod(0o777)
            if group is not None and isinstance(content, EmptyDirectory):
                os.chown(path, -1, group)
                path.chmod(0o2777)

    def remove(self) -> None:
        """Unmounts what the kubelet mounted and removes the directory."""
        for mount in sorted(_mounts_below(self.root), key=len, reverse=True):
            unmount(mount)
        shutil.rmtree(self.root, ignore_errors=True)


def check_host_path(content: HostDirectory) -> None:
    """Enforces the hostPath type; makes directories and files where it says so. Raises VolumeError."""
    path = Path(content.path)
    words = f"hostPath type check failed: {content.path} is not a"
    if content.kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif content.kind == "FileOrCreate":
        path.touch(mode=0o644, exist_ok=True)
    mode = path.stat().st_mode if path.exists() else 0
    tests = {
        "Directory": (stat.S_ISDIR, "directory"),
        "DirectoryOrCreate": (stat.S_ISDIR, "directory"),
        "File": (stat.S_ISREG, "file"),
        "FileOrCreate": (stat.S_ISREG, "file"),
        "Socket": (stat.S_ISSOCK, "socket file"),
        "CharDevice": (stat.S_ISCHR, "character device"),
        "BlockDevice": (stat.S_ISBLK, "block device"),
    }
    if content.kind in tests and not tests[content.kind][0](mode):
        raise VolumeError(f"{words} {tests[content.kind][1]}")


def write_files(root: Path, files: Iterable[File], group: int | None = None) -> bool:
    """Lays files below ``root`` by one swing of ``..data``; says whether anything changed. ``group`` may read them."""
    readable = GROUP_READ if group is not None else 0
    wanted = {file.path: replace(file, mode=file.mode | readable) for file in files}
    link = root / DATA_LINK
    if link.is_symlink() and _same(root, wanted):
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=root))
    fresh.chmod(0o755)
    for file in wanted.values():
        target = fresh / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        if group is not None:
            os.chown(target, -1, group)
        target.chmod(file.mode)
    old = link.readlink() if link.is_symlink() else None
    temporary = root / "..data_tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh.name)
    temporary.replace(link)
    tops = {path.split("/")[0] for path in wanted}
    for top in tops:
        if not (root / top).is_symlink():
            (root / top).symlink_to(f"{DATA_LINK}/{top}")
    for entry in root.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old is not None:
        shutil.rmtree(root / old, ignore_errors=True)
    return True


def _same(root: Path, wanted: Mapping[str, File]) -> bool:
    data = root / DATA_LINK
    present = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}
    if present != wanted.keys():
        return False
    return all(
        (data / name).read_bytes() == file.data and stat.S_IMODE((data / name).stat().st_mode) == file.mode for name, file in wanted.items()
    )


def mount_memory(path: Path, size_bytes: int) -> None:
    """Mounts a tmpfs for an emptyDir of medium Memory; raises VolumeError where that is not allowed."""
    if str(path) in _mounts_below(path):
        return
    try:
        mount_tmpfs(path, size_bytes)
    except OSError as error:
        raise VolumeError(f"cannot mount tmpfs: {error.strerror}") from error


def _mounts_below(root: Path) -> set[str]:
    prefix = str(root)
    lines = Path("/proc/thread-self/mounts").read_text().splitlines()
    points = {line.split(" ")[1].encode().decode("unicode_escape") for line in lines}
    return {point for point in points if point == prefix or point.startswith(prefix + "/")}
