"""What must be so on the node's disk before a container starts."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from services.kubelet.container.inputs import ConfigError
from services.kubelet.node.beneath import make_directories_beneath, open_beneath
from services.kubelet.node.mounts import bind, unmount_all
from services.kubelet.runtime.plan import Mount

REASONS = {
    errno.EXDEV: "it leads out of the volume",
    errno.ELOOP: "it leads out of the volume, or round in a circle",
    errno.EPERM: "a kubelet that is not root may not mount it",
}


def bind_sub_paths(mounts: Iterable[Mount]) -> None:
    """Opens each subPath below its volume, and mounts the very file or directory at the mount's source. Raises ConfigError.

    A missing one is made as a directory with the volume's mode. Whatever a container does with its volume's names afterwards,
    the engine mounts what was opened. ``release_sub_paths`` ends the mounts.
    """
    for mount in mounts:
        if mount.sub_path:
            try:
                _bind_sub_path(mount)
            except OSError as error:
                words = REASONS.get(error.errno or 0) or error.strerror or str(error)
                raise ConfigError(f"failed to prepare subPath {mount.sub_path!r} for {mount.target}: {words}") from error


def release_sub_paths(mounts: Iterable[Mount]) -> None:
    """Ends what ``bind_sub_paths`` mounted: a container that has started holds its own. Raises OSError where a mount stays."""
    for mount in mounts:
        if mount.sub_path:
            unmount_all(Path(mount.source))


def _bind_sub_path(mount: Mount) -> None:
    volume = os.open(mount.volume, os.O_PATH | os.O_CLOEXEC)
    try:
        try:
            found = open_beneath(volume, mount.sub_path, os.O_PATH, links=True)
        except FileNotFoundError:
            make_directories_beneath(volume, mount.sub_path, stat.S_IMODE(os.fstat(volume).st_mode))
            found = open_beneath(volume, mount.sub_path, os.O_PATH, links=True)
    finally:
        os.close(volume)
    try:
        _make_place(Path(mount.source), stat.S_ISDIR(os.fstat(found).st_mode))
        bind(found, Path(mount.source))
    finally:
        os.close(found)


def _make_place(place: Path, directory: bool) -> None:
    """An empty directory, or an empty file, to mount on; also where an earlier start left something."""
    unmount_all(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() and place.is_dir() != directory:
        (place.rmdir if place.is_dir() else place.unlink)()
    if directory:
        place.mkdir(exist_ok=True)
    else:
        place.touch()
