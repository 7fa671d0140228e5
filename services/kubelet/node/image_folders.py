"""Images that pods have as volumes: each laid once in a folder of the node, and removed once no pod has it any more.

A runtime that shows an image's files where they lie has them mounted on that folder, another one's are copied into it.
Which pods have it is told by marks in their own directories, which are made before the image is looked for and go with the directories.
So a kubelet that starts anew finds both, and a pod whose kubelet was cut off keeps no image.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from services.kubelet.node.files import NodeFiles
from services.kubelet.node.mounts import mount_read_only, mounts_below, unmount_all
from services.kubelet.node.trees import remove_tree
from services.kubelet.node.unpack import unpack
from services.kubelet.runtime.port import Filesystem, Image, Runtime, RuntimeFailure, RuntimeUnavailable

log = logging.getLogger(__name__)

FOLDER, MARKS = "image-volumes", "image-volumes"
CLOSED_MODE = 0o700
# An image that is being laid, or was when its kubelet ended.
UNFINISHED = "."
# By when an engine has done what it was asked, though nobody waits for its answer any more.
LATE_SECONDS = 60.0


class ImageFolders:
    """Of one node. ``pods`` is where the directories of its pods are."""

    def __init__(self, data_dir: Path, pods: Path, runtime: Runtime, files: NodeFiles) -> None:
        self._root, self._pods, self._runtime, self._files = data_dir.absolute() / FOLDER, pods, runtime, files
        # What is laid and what is swept away exclude one another.
        self._lock = asyncio.Lock()
        self._unanswered = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. What an engine comes to show when its pod has gone already, it keeps for nobody."""
        while True:
            await self._unanswered.wait()
            self._unanswered.clear()
            await asyncio.sleep(LATE_SECONDS)
            try:
                await self.sweep()
            except (RuntimeFailure, OSError) as error:
                log.warning("images that no pod has are not given up", extra={"error": str(error)})
                self._unanswered.set()

    async def lay(self, image: Image, pod_directory: Path) -> Path:
        """The folder with the image's root file system, for a pod that has it from now on. Raises RuntimeFailure and OSError."""
        name = image.id.rpartition(":")[2]
        async with self._lock:
            await self._files.call(_mark, pod_directory / MARKS / name)
            place = self._root / name
            if not await self._files.call(_is_laid, place):
                await self._fetch(image, place)
            return place

    async def _fetch(self, image: Image, place: Path) -> None:
        await self._files.call(_make_root, self._root)
        try:
            shown = await self._runtime.show_image(image, place.name)
        except (RuntimeUnavailable, asyncio.CancelledError):
            self._unanswered.set()
            raise
        if shown is not None:
            await self._files.call(_mount, shown, place)
            return
        fresh = self._root / f"{UNFINISHED}{place.name}"
        with await self._files.call(_unnamed, self._root) as archive:
            async for chunk in self._runtime.export(image):
                await self._files.call(archive.write, chunk)
            await self._files.call(_lay, archive, fresh, place)

    async def sweep(self) -> None:
        """Removes what no pod has. Raises OSError and RuntimeFailure."""
        async with self._lock:
            await self._runtime.hide_images(await self._files.call(_sweep, self._root, self._pods))


def _unnamed(folder: Path) -> BinaryIO:
    """A file that is gone with its handle."""
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))


def _mark(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _make_root(root: Path) -> None:
    root.mkdir(exist_ok=True)
    root.chmod(CLOSED_MODE)


def _is_laid(place: Path) -> bool:
    """What was mounted is there no more once the machine started anew."""
    return place.is_dir() and (any(place.iterdir()) or bool(mounts_below(place)))


def _mount(shown: Filesystem, place: Path) -> None:
    place.mkdir(exist_ok=True)
    try:
        mount_read_only(shown.kind, shown.source, shown.options, place)
    except BaseException:
        # Half of it, which everybody may write to, is not to be taken for the whole.
        with suppress(OSError):
            unmount_all(place)
        raise


def _lay(archive: BinaryIO, fresh: Path, place: Path) -> None:
    """Whole, or not at all."""
    with suppress(FileNotFoundError):
        remove_tree(fresh)
    fresh.mkdir()
    archive.seek(0)
    try:
        unpack(archive, fresh)
        fresh.rename(place)
    except BaseException:
        # Where the disk is full, half an image must not keep it so.
        with suppress(OSError):
            remove_tree(fresh)
        raise


def _sweep(root: Path, pods: Path) -> set[str]:
    """The names of what pods have."""
    used = {mark.name for mark in pods.glob(f"*/{MARKS}/*")}
    for place in root.iterdir() if root.is_dir() else ():
        if place.name not in used:
            unmount_all(place)
            remove_tree(place)
    return used
