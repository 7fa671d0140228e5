"""Files from ConfigMaps, Secrets and the downward API, laid as Kubernetes lays them.

A directory of a random name, the link ``..data`` to it, and a link per entry through ``..data``. An update
writes a new directory and swings the one link, so readers see all old or all new content.

Everything is done by handle below the volume: no link that lies there is ever followed, whoever made it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from services.kubelet.node.beneath import make_directory_at, opened, opened_beneath, read_beneath, remove_at, write_at
from services.kubelet.pod.contents import File

GROUP_READ = 0o440
DIRECTORY_MODE = 0o755
DATA_LINK = "..data"
# Of the names that the kubelet gives; keys and paths of files never begin so.
OWN_PREFIX = ".."


def write_files(root: Path, files: Iterable[File], group: int | None = None) -> bool:
    """Lays files below ``root`` by one swing of ``..data``; says whether anything changed. ``group`` may read them. Raises OSError."""
    readable = GROUP_READ if group is not None else 0
    wanted = {file.path: replace(file, mode=file.mode | readable) for file in files}
    with opened(root) as volume:
        if _same(volume, wanted):
            return False
        fresh = f"{OWN_PREFIX}{secrets.token_hex(8)}"
        _write(volume, fresh, wanted.values(), group)
        _swing(volume, fresh, {path.split("/")[0] for path in wanted})
    return True


def _write(volume: int, fresh: str, files: Iterable[File], group: int | None) -> None:
    make_directory_at(volume, fresh, DIRECTORY_MODE)
    with opened_beneath(volume, fresh) as data:
        for file in files:
            folder, _, name = file.path.rpartition("/")
            parts = folder.split("/") if folder else []
            for depth in range(len(parts)):
                with opened_beneath(data, "/".join(parts[:depth])) as parent:
                    make_directory_at(parent, parts[depth], DIRECTORY_MODE)
            with opened_beneath(data, folder) as parent:
                write_at(parent, name, file.data, file.mode, group, file.owner)


def _swing(volume: int, fresh: str, tops: set[str]) -> None:
    """Makes ``..data`` lead to ``fresh``, then the entries through it, then removes what is not wanted any more."""
    temporary = f"{OWN_PREFIX}data_tmp"
    remove_at(volume, temporary)
    os.symlink(fresh, temporary, dir_fd=volume)
    try:
        os.rename(temporary, DATA_LINK, src_dir_fd=volume, dst_dir_fd=volume)
    except IsADirectoryError:
        remove_at(volume, DATA_LINK)
        os.rename(temporary, DATA_LINK, src_dir_fd=volume, dst_dir_fd=volume)
    for top in tops:
        if _link(volume, top) != f"{DATA_LINK}/{top}":
            remove_at(volume, top)
            os.symlink(f"{DATA_LINK}/{top}", top, dir_fd=volume)
    for name in set(os.listdir(volume)) - tops - {DATA_LINK, fresh}:
        if name.startswith(OWN_PREFIX) or _link(volume, name):
            remove_at(volume, name)


def _same(volume: int, wanted: Mapping[str, File]) -> bool:
    data_name = _link(volume, DATA_LINK)
    if not data_name or any(_link(volume, top) != f"{DATA_LINK}/{top}" for top in {path.split("/")[0] for path in wanted}):
        return False
    try:
        with opened_beneath(volume, data_name) as data:
            found = os.fwalk(".", dir_fd=data, follow_symlinks=False)
            present = {os.path.normpath(f"{folder}/{name}") for folder, _, names, _ in found for name in names}
            return present == wanted.keys() and all(read_beneath(data, path) == (file.data, file.mode) for path, file in wanted.items())
    except OSError:
        # Not as the kubelet left it: it is written anew.
        return False


def _link(volume: int, name: str) -> str:
    """Where the link ``name`` leads; empty when it is none."""
    try:
        return os.readlink(name, dir_fd=volume)
    except OSError:
        return ""
