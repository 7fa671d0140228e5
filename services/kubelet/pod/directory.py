"""A pod's directory on the node, and its volumes laid on disk."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from services.kubelet.node.mounts import mount_tmpfs, mounts_below, unmount
from services.kubelet.pod.volume_files import write_files
from services.kubelet.pod.volumes import Content, EmptyDirectory, Files, HostDirectory, VolumeError


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
        for mount in sorted(mounts_below(self.root), key=len, reverse=True):
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


def mount_memory(path: Path, size_bytes: int) -> None:
    """Mounts a tmpfs for an emptyDir of medium Memory; raises VolumeError where that is not allowed."""
    if str(path) in mounts_below(path):
        return
    try:
        mount_tmpfs(path, size_bytes)
    except OSError as error:
        raise VolumeError(f"cannot mount tmpfs: {error.strerror}") from error
