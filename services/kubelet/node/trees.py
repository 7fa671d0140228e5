"""Trees of folders whose contents belong to somebody else: looked through and removed, however deep and however wide they are.

A container can nest folders deeper than a path can say, than a process may hold handles and a function call itself, and put millions of
names into one. So few handles are held, and names are taken in batches. All is done by handle: a container may exchange a folder for a link
at any moment, and no link is followed.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# So many levels are held by handles.
LEVELS = 64
BATCH = 4096
Place = tuple[int, int]


@dataclass(slots=True)
class _Level:
    """A folder that is looked through: which one it is, its handle where that is held, and those in it that are still to come."""

    place: Place
    handle: int
    held: bool
    folders: list[str] = field(default_factory=list)


def walk(directory: int, *, same_device: bool = False) -> Iterator[tuple[int, str, os.stat_result]]:
    """All that lies below ``directory``, each with a handle of the folder that it is in, which is good until the next one is asked for.
    ``same_device``: nothing of other file systems. What cannot be looked at is passed over."""
    device = os.fstat(directory).st_dev if same_device else None
    levels: list[_Level] = []
    try:
        yield from _enter(levels, os.dup(directory), device)
        while levels:
            level = levels[-1]
            if not level.folders:
                _leave(levels)
                continue
            with suppress(OSError):
                inner = os.open(level.folders.pop(), FOLDER, dir_fd=level.handle)
                yield from _enter(levels, inner, device)
    finally:
        for level in levels:
            _close(level)


def _enter(levels: list[_Level], handle: int, device: int | None) -> Iterator[tuple[int, str, os.stat_result]]:
    """Takes the handle over and looks at what lies in the folder itself."""
    found = os.fstat(handle)
    if levels and not levels[-1].held:
        _close(levels[-1])
    level = _Level((found.st_dev, found.st_ino), handle, held=len(levels) < LEVELS)
    levels.append(level)
    if device is not None and found.st_dev != device:
        return
    with suppress(OSError), os.scandir(handle) as entries:
        for entry in entries:
            with suppress(OSError):
                seen = entry.stat(follow_symlinks=False)
                if device is not None and seen.st_dev != device:
                    continue
                if stat.S_ISDIR(seen.st_mode):
                    level.folders.append(entry.name)
                yield handle, entry.name, seen


def _leave(levels: list[_Level]) -> None:
    """Back to the folder above. Where that is not held, it is the one that the folder lies in, if it is still the same: if the folder was
    moved meanwhile, what is left of those that are not held is passed over."""
    level = levels.pop()
    if not levels or levels[-1].held:
        _close(level)
        return
    above = -1
    with suppress(OSError):
        above = os.open("..", FOLDER, dir_fd=level.handle)
    _close(level)
    if above >= 0:
        found = os.fstat(above)
        if (found.st_dev, found.st_ino) == levels[-1].place:
            levels[-1].handle = above
            return
        os.close(above)
    while levels and not levels[-1].held:
        levels.pop()


def _close(level: _Level) -> None:
    if level.handle >= 0:
        os.close(level.handle)
        level.handle = -1


def remove_tree(path: Path) -> None:
    """Removes a folder with all that is in it: as much as can be. Raises OSError where something stays, or it is no folder."""
    handle = os.open(path, FOLDER)
    try:
        _empty(handle, handle, 1)
    finally:
        os.close(handle)
    path.rmdir()


def remove_tree_at(directory: int, name: str) -> None:
    """As ``remove_tree``, of the folder ``name`` in ``directory``."""
    handle = os.open(name, FOLDER, dir_fd=directory)
    try:
        _empty(handle, handle, 1)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=directory)


def _empty(directory: int, top: int, depth: int) -> None:
    """What lies deeper than handles are held is brought up to ``top`` first, which is looked through until nothing is left."""
    stuck: dict[str, OSError] = {}
    while names := _batch(directory, stuck):
        for name, is_folder in names:
            try:
                if not is_folder:
                    os.unlink(name, dir_fd=directory)
                elif depth < LEVELS:
                    _remove_folder(directory, name, top, depth)
                else:
                    os.rename(name, f".{uuid.uuid4().hex}", src_dir_fd=directory, dst_dir_fd=top)
            except FileNotFoundError:
                pass
            except OSError as error:
                stuck[name] = error
    if stuck:
        raise next(iter(stuck.values()))


def _remove_folder(directory: int, name: str, top: int, depth: int) -> None:
    handle = os.open(name, FOLDER, dir_fd=directory)
    try:
        _empty(handle, top, depth + 1)
    finally:
        os.close(handle)
    os.rmdir(name, dir_fd=directory)


def _batch(directory: int, stuck: Collection[str]) -> list[tuple[str, bool]]:
    with os.scandir(directory) as entries:
        wanted = (entry for entry in entries if entry.name not in stuck)
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in islice(wanted, BATCH)]
