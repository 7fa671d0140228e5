"""What must be so on the node's disk before a container starts."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from services.kubelet.container.inputs import ConfigError
from services.kubelet.node.beneath import make_directories_beneath, open_beneath
from services.kubelet.node.mounts import are_private, bind, set_attributes, unmount_all
from services.kubelet.runtime.plan import Mount

REASONS = {
    errno.EXDEV: "it leads out of the volume",
    errno.ELOOP: "it leads out of the volume, or round in a circle",
    errno.EPERM: "a kubelet that is not root may not mount it",
    errno.ENOSYS: "bindMountOptions and recursiveReadOnly need Linux 5.12",
}


def check_places_are_seen() -> None:
    """Raises ConfigError where the engine would find nothing at the places that this thread binds, and show that."""
    if are_private():
        raise ConfigError(
            "subPath, bindMountOptions, recursiveReadOnly and image volumes need mounts that the container engine sees; "
            "this kubelet has mounts of its own: start it without them, or with --mounts-of"
        )


def bind_places(mounts: Iterable[Mount]) -> None:
    """Opens what each mount shows of its volume, and mounts that very file or directory at the mount's source. Raises ConfigError.

    A subPath that is missing is made as a directory with the volume's mode. Whatever a container does with its volume's names afterwards,
    the engine mounts what was opened. ``release_places`` ends the mounts.
    """
    for mount in mounts:
        if mount.volume:
            what = f"subPath {mount.sub_path!r}" if mount.sub_path else f"volume {mount.volume}"
            try:
                _bind_place(mount)
            except OSError as error:
                words = REASONS.get(error.errno or 0) or error.strerror or str(error)
                raise ConfigError(f"failed to prepare {what} for {mount.target}: {words}") from error


def release_places(mounts: Iterable[Mount]) -> None:
    """Ends what ``bind_places`` mounted: a container that has started holds its own. Raises OSError where a mount stays."""
    for mount in mounts:
        if mount.volume:
            unmount_all(Path(mount.source))


def _bind_place(mount: Mount) -> None:
    place, volume = Path(mount.source), os.open(mount.volume, os.O_PATH | os.O_CLOEXEC)
    try:
        found = _opened(volume, mount.sub_path, make=not mount.complete) if mount.sub_path else os.dup(volume)
    finally:
        os.close(volume)
    try:
        _make_place(place, stat.S_ISDIR(os.fstat(found).st_mode))
        bind(found, place, recursive=not mount.sub_path)
        if mount.attributes:
            set_attributes(place, mount.attributes, recursive=mount.recursive)
    finally:
        os.close(found)


def _opened(volume: int, sub_path: str, *, make: bool) -> int:
    try:
        return open_beneath(volume, sub_path, os.O_PATH, links=True)
    except FileNotFoundError:
        if not make:
            raise
        make_directories_beneath(volume, sub_path, stat.S_IMODE(os.fstat(volume).st_mode))
        return open_beneath(volume, sub_path, os.O_PATH, links=True)


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
