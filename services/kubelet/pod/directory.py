"""A pod's directory on the node, and its volumes laid on disk."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from services.kubelet.csi.places import POD_FOLDER
from services.kubelet.csi.volume import DriverVolume
from services.kubelet.node.beneath import opened
from services.kubelet.node.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, are_private, mount_tmpfs, unmount_all
from services.kubelet.node.network_mounts import MountFailed, mount_nfs
from services.kubelet.node.quota import limit, make_limitable
from services.kubelet.node.trees import remove_tree
from services.kubelet.pod.contents import (
    BlockDevice,
    Content,
    DeviceError,
    EmptyDirectory,
    Files,
    HostDirectory,
    ImageDirectory,
    NetworkDirectory,
    VolumeError,
)
from services.kubelet.pod.ownership import Giving, give_to_group
from services.kubelet.pod.volume_files import DATA_LINK, write_files
from services.kubelet.pod.volumes import failed

log = logging.getLogger(__name__)

# Nobody on the node but root looks into the pods' directories; what containers may do is said by the modes within volumes.
PRIVATE_MODE = 0o750
FILES_MODE, EMPTY_MODE, GROUP_MODE = 0o755, 0o777, 0o2777
# What a pod's group may always do in a folder of its own.
GROUP_BITS = 0o2070


def pods_directory(data_dir: Path) -> Path:
    """Where the directories of a node's pods are, each named by its uid."""
    return data_dir / "pods"


def left_behind(data_dir: Path) -> list[str]:
    """The uids of the pods that have a directory."""
    try:
        return [path.name for path in pods_directory(data_dir).iterdir()]
    except FileNotFoundError:
        return []


class PodDirectory:
    """The directory of one pod on the node: its volumes and the files the kubelet makes for it."""

    def __init__(self, data_dir: Path, uid: str) -> None:
        self.root = pods_directory(data_dir) / uid

    def volume_path(self, name: str) -> Path:
        return self.root / "volumes" / name

    def driver_path(self, name: str) -> Path:
        """Where the volume of a driver lies; ``name`` is its PersistentVolume's, or its own."""
        return self.root / "volumes" / POD_FOLDER / name / "mount"

    def sub_path(self, volume: str, container: str, index: int) -> Path:
        """Where a container's subPath is mounted while the engine starts it; ``index`` is the volumeMount's."""
        return self.root / "volume-subpaths" / volume / container / str(index)

    def termination_log(self, container: str, attempt: int) -> Path:
        return self.root / "containers" / container / f"{attempt}.log"

    @property
    def hosts(self) -> Path:
        return self.root / "etc-hosts"

    @property
    def resolv_conf(self) -> Path:
        return self.root / "resolv.conf"

    def make(self) -> None:
        """Makes the directory, closed to everybody but root whatever the umask. May be repeated; raises OSError."""
        self.root.parent.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.root.parent, self.root, self.root / "volumes"):
            path.mkdir(exist_ok=True)
            path.chmod(PRIVATE_MODE)

    def set_up(self, volumes: Mapping[str, Content], group: int | None = None, giving: Giving = Giving.ALWAYS) -> None:
        """Makes what is not there yet and brings files up to date; may be repeated. ``giving``: whether what lies in volumes that outlive
        their pods is given to the group. Raises VolumeError for the first that failed, when the others are there."""
        self.make()
        failures: list[tuple[VolumeError, Exception]] = []
        for name, content in volumes.items():
            try:
                self._set_up(name, content, group, giving)
            except (VolumeError, OSError) as error:
                failures.append((_told(name, content, error), error))
        if failures:
            told, cause = failures[0]
            raise told from cause

    def _set_up(self, name: str, content: Content, group: int | None, giving: Giving) -> None:
        if isinstance(content, HostDirectory):
            if content.made:
                make_folder(Path(content.path), content.size_bytes)
            check_host_path(content)
            if content.owned and group is not None and not content.read_only:
                give_to_group(Path(content.path), group, giving)
            return
        if isinstance(content, BlockDevice):
            check_device(content.path)
            return
        if isinstance(content, DriverVolume | ImageDirectory):
            # Its driver does that; or whoever fetches images.
            return
        path = self.volume_path(name)
        path.mkdir(exist_ok=True)
        if isinstance(content, NetworkDirectory):
            _mount_network(path, content)
            return
        if isinstance(content, Files):
            if content.secret:
                keep_in_memory(path)
            path.chmod(FILES_MODE)
            write_files(path, content.files, group)
        else:
            _set_up_empty(path, content, group, giving)

    def prepare_container(self, container: str, attempt: int) -> None:
        """Makes the file for a container's termination message, empty; any user of the container may write it."""
        self.make()
        path = self.termination_log(container, attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o666)

    @property
    def has_names(self) -> bool:
        """Whether /etc/hosts and /etc/resolv.conf are written."""
        return self.resolv_conf.exists()

    def write(self, path: Path, text: str) -> None:
        """Writes one of the kubelet's own files, which any user of the pod's containers may read."""
        self.make()
        path.write_text(text)
        path.chmod(0o644)

    def remove_volumes(self) -> None:
        """Unmounts what the kubelet mounted and removes the volumes alone. Raises OSError, and removes nothing, where a mount stays."""
        unmount_all(self.root)
        for folder in ("volumes", "volume-subpaths"):
            with contextlib.suppress(OSError):
                remove_tree(self.root / folder)

    def remove(self) -> None:
        """Unmounts what the kubelet mounted and removes the directory. Raises OSError, and removes nothing, where a mount stays."""
        unmount_all(self.root)
        with contextlib.suppress(OSError):
            remove_tree(self.root)


class UnmadeDirectory(PodDirectory):
    """Where a pod's files would lie, if its containers saw any. Of them only those are laid by which somebody may look at what the API
    says: ConfigMaps, Secrets and the downward API. Nothing is mounted, owned or made for a token, so that nobody's leave is needed."""

    has_names = True

    def set_up(self, volumes: Mapping[str, Content], group: int | None = None, giving: Giving = Giving.ALWAYS) -> None:
        named = {name: _plain(content) for name, content in volumes.items() if isinstance(content, Files) and not content.token}
        if named:
            super().set_up(named)

    def prepare_container(self, container: str, attempt: int) -> None: ...

    def write(self, path: Path, text: str) -> None: ...

    def remove_volumes(self) -> None:
        self._remove(self.root / "volumes")

    def remove(self) -> None:
        self._remove(self.root)

    def _remove(self, path: Path) -> None:
        """Also what a kubelet before this one laid."""
        with contextlib.suppress(OSError):
            if path.exists():
                remove_tree(path)


def _plain(content: Files) -> Files:
    """As whoever may neither mount nor give files away can lay it: in the pod's own closed directory."""
    return Files(tuple(replace(file, owner=None) for file in content.files))


def _told(name: str, content: Content, error: Exception) -> VolumeError:
    if isinstance(content, BlockDevice):
        return DeviceError(f'MapVolume.SetUpDevice failed for volume "{name}" : {error}')
    return failed(name, error)


def _set_up_empty(path: Path, content: EmptyDirectory, group: int | None, giving: Giving) -> None:
    """Its mode is that of its making: what its containers do to it afterwards is theirs."""
    if giving is Giving.NEVER:
        return
    if content.memory:
        mount_memory(path, content.size_bytes)
    if group is not None:
        os.chown(path, -1, group)
    if content.mode is None:
        path.chmod(EMPTY_MODE if group is None else GROUP_MODE)
    else:
        path.chmod(content.mode if group is None else content.mode | GROUP_BITS)


def make_folder(path: Path, size_bytes: int = 0) -> None:
    """A folder for a volume that outlives its pods: any user of a container may write there, nobody else gets to it. It is held to a size
    where the file system can; 0: it is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(PRIVATE_MODE)
    with opened(path.parent) as folders:
        with contextlib.suppress(FileExistsError):
            make_limitable(folders, path.name, EMPTY_MODE)
        if size_bytes:
            limit(folders, path.name, size_bytes)


def _mount_network(path: Path, content: NetworkDirectory) -> None:
    options = (*content.options, "ro") if content.read_only else content.options
    try:
        mount_nfs(content.server, content.path, path, options)
    except MountFailed as error:
        raise VolumeError(str(error)) from error


def check_host_path(content: HostDirectory) -> None:
    """Enforces the hostPath type; makes directories and files where it says so. Raises VolumeError."""
    path = Path(content.path)
    if not path.is_absolute() or "\0" in content.path:
        # The engine would take it for the name of a volume of its own.
        raise VolumeError(f"hostPath {content.path!r} is not an absolute path")
    words = f"hostPath type check failed: {content.path} is not a"
    if content.kind == "DirectoryOrCreate":
        _make_host_directory(path)
    elif content.kind == "FileOrCreate" and not path.exists():
        path.touch()
        path.chmod(0o644)
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


def check_device(path: str) -> None:
    """Raises VolumeError where there is no block device, and OSError."""
    if not path.startswith("/") or "\0" in path:
        raise VolumeError(f"{path!r} is not an absolute path")
    if not stat.S_ISBLK(Path(path).stat().st_mode):
        raise VolumeError(f"{path} is not a block device")


def _make_host_directory(path: Path) -> None:
    missing = [path, *path.parents][: next(index for index, found in enumerate((path, *path.parents)) if found.exists())]
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)


def mount_memory(path: Path, size_bytes: int) -> None:
    """Mounts a tmpfs for an emptyDir of medium Memory; raises VolumeError where that is not allowed."""
    if path.is_mount():
        return
    try:
        mount_tmpfs(path, EMPTY_MODE, size_bytes)
    except OSError as error:
        raise VolumeError(f"cannot mount tmpfs: {error.strerror}") from error


def keep_in_memory(path: Path) -> None:
    """Mounts a tmpfs for files that belong on no disk.

    A kubelet that may not mount, or whose mounts nobody else would see, keeps them in its own closed directory instead.
    """
    if path.is_mount() or os.path.lexists(path / DATA_LINK):
        # Mounted, or written by a kubelet that did not: who shows it already would see no change any more.
        return
    if are_private():
        log.info("nobody else sees mounts made here (--mounts-of): secrets are kept on disk, closed", extra={"path": str(path)})
        return
    try:
        mount_tmpfs(path, FILES_MODE, flags=MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES):
            raise
        log.info("no leave to mount a tmpfs: secrets are kept on disk, readable for this user only", extra={"path": str(path)})
