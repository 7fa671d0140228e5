"""The pods that a folder of the node's describes, one a file, followed while the kubelet runs.

Files that begin with a dot are left alone: a file is put there under such a name, and gets its own when it is whole. Nothing is watched but
looked at every second: a folder may be mounted, exchanged or made later. A file that is read while it is written has not its form, and is
read again when it changes; until then what it described before goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import Key, key_of
from services.kubelet.node.manifests import BadManifest, static_pod

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 1024 * 1024
LOOK_SECONDS = 1.0
# Which file it is, and of when.
Mark = tuple[int, int, int]
Listener = Callable[[core.Pod | None, core.Pod | None], None]


@dataclass(frozen=True, slots=True)
class _File:
    """What was made of a file when it was read last; ``problem`` is why that was nothing new."""

    mark: Mark
    pod: core.Pod | None
    problem: str = ""


class StaticPods:
    """Reads a folder, or one file. ``pods`` are those that it describes now, by uid; listeners hear of each change as ``fn(old, new)``."""

    def __init__(self, path: Path | None, node_name: str, complain: Callable[[str], None]) -> None:
        """``complain`` hears of files that describe no pod. Without a path there are none."""
        self._path, self._node_name, self._complain = path, node_name, complain
        self._files: dict[str, _File] = {}
        self._listeners: list[Listener] = []
        self._told: dict[Key, core.Pod] = {}
        # By file, the problem that was told last, and in which state of the file.
        self._said: dict[str, tuple[Mark, str]] = {}
        # Set when the folder was read once.
        self.read = asyncio.Event()

    @property
    def pods(self) -> Mapping[str, core.Pod]:
        return {pod.metadata.uid: pod for pod in self._told.values()}

    def find(self, key: Key) -> core.Pod | None:
        """The one of that namespace and name."""
        return self._told.get(key)

    def on_change(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def run(self) -> None:
        """Until cancelled."""
        while self._path is not None:
            await asyncio.to_thread(self._look)
            self._tell()
            self.read.set()
            await asyncio.sleep(LOOK_SECONDS)
        self.read.set()
        await asyncio.Event().wait()

    def _look(self) -> None:
        """Reads the files that are new or others."""
        assert self._path is not None
        try:
            marks = _marks(self._path)
        except OSError as error:
            # What runs goes on: a folder that cannot be read says nothing about its files.
            log.warning("the folder of static pods cannot be read", extra={"path": str(self._path), "error": str(error)})
            return
        self._files = {name: known for name, known in self._files.items() if name in marks}
        for name, mark in marks.items():
            known = self._files.get(name)
            if known is None or known.mark != mark:
                self._files[name] = self._read(name, mark, known)

    def _read(self, name: str, mark: Mark, known: _File | None) -> _File:
        try:
            return _File(mark, static_pod(_content(name), name, self._node_name))
        except (BadManifest, OSError) as error:
            return _File(mark, known.pod if known is not None else None, str(error))

    def _tell(self) -> None:
        """Tells what changed. Of two files that describe a pod of one name the first by name counts."""
        wanted: dict[Key, core.Pod] = {}
        for name, file in sorted(self._files.items()):
            problem = file.problem
            if file.pod is not None:
                first = wanted.setdefault(key_of(file.pod), file.pod)
                problem = problem or ("" if first is file.pod else f"another file describes the pod {key_of(file.pod)} already")
            if problem:
                self._say(name, file, problem)
        self._said = {name: said for name, said in self._said.items() if name in self._files}
        before, self._told = self._told, wanted
        for key in before.keys() | wanted.keys():
            old, new = before.get(key), wanted.get(key)
            if (old.metadata.uid if old is not None else "") != (new.metadata.uid if new is not None else ""):
                for listener in self._listeners:
                    listener(old, new)

    def _say(self, name: str, file: _File, problem: str) -> None:
        """Once for each state of a file."""
        if self._said.get(name) != (file.mark, problem):
            log.error("a static pod cannot be run", extra={"file": name, "error": problem})
            self._complain(f"Static pod file {name}: {problem}")
            self._said[name] = file.mark, problem


def _marks(path: Path) -> dict[str, Mark]:
    """The files, by their paths. A folder that is not there has none. Raises OSError."""
    try:
        paths = sorted(path.iterdir()) if path.is_dir() else [path]
    except FileNotFoundError:
        return {}
    found: dict[str, Mark] = {}
    for one in paths:
        if not one.name.startswith("."):
            try:
                told = one.stat()
            except OSError:
                # One that is gone, or a link that leads nowhere, is no reason to read none of the others.
                continue
            if stat.S_ISREG(told.st_mode):
                found[str(one)] = (told.st_ino, told.st_mtime_ns, told.st_size)
    return found


def _content(path: str) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise BadManifest(f"it has {os.fstat(file.fileno()).st_size} bytes; {MAX_FILE_BYTES} is the most")
    return data
