"""The users and groups that an image knows, read out of it without running anything.

The engine reads these files itself when it starts a container, but adds an image's groups only where no group is named beside the user.
So whoever wants both, or none, has to know them.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections import OrderedDict
from weakref import WeakValueDictionary

from services.kubelet.runtime.docker.engine import EngineNotFound
from services.kubelet.runtime.docker.unstarted import UnstartedContainers
from services.kubelet.runtime.port import Accounts, RuntimeFailure

PASSWD, GROUP = "/etc/passwd", "/etc/group"
# What a file of them may have; more is not read, so that no image fills the kubelet's memory.
MAX_BYTES = 1 << 20
# A link that leads to a link, and so on.
MAX_LINKS = 8
KEPT = 256


class EngineAccounts:
    """Reads each image once; the engine's images never change."""

    def __init__(self, unstarted: UnstartedContainers) -> None:
        self._unstarted = unstarted
        self._known: OrderedDict[str, Accounts] = OrderedDict()
        # Many containers of one image may start at once.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, image_id: str) -> Accounts:
        """Raises RuntimeFailure."""
        async with self._locks.setdefault(image_id, asyncio.Lock()):
            found = self._known.get(image_id)
            if found is None:
                found = self._known[image_id] = await self._read(image_id)
                if len(self._known) > KEPT:
                    self._known.popitem(last=False)
            return found

    async def _read(self, image_id: str) -> Accounts:
        async with self._unstarted.of(image_id) as container_id:
            return Accounts(await self._file(container_id, PASSWD), await self._file(container_id, GROUP))

    async def _file(self, container_id: str, path: str) -> str:
        """Empty where the image has none."""
        for _ in range(MAX_LINKS):
            try:
                entry, text = await self._entry(container_id, path)
            except EngineNotFound:
                return ""
            if not entry.issym():
                return text
            path = entry.linkname if entry.linkname.startswith("/") else f"{path.rpartition('/')[0]}/{entry.linkname}"
        raise RuntimeFailure(f"{path} of the image leads round in a circle")

    async def _entry(self, container_id: str, path: str) -> tuple[tarfile.TarInfo, str]:
        archive = io.BytesIO()
        async with self._unstarted.engine.stream("GET", f"containers/{container_id}/archive", params={"path": path}) as chunks:
            async for chunk in chunks:
                archive.write(chunk)
                if archive.tell() > MAX_BYTES:
                    raise RuntimeFailure(f"{path} of the image is larger than {MAX_BYTES} bytes")
        archive.seek(0)
        try:
            with tarfile.open(fileobj=archive) as found:
                entry = found.next()
                if entry is None:
                    raise RuntimeFailure(f"the engine shows nothing at {path} of the image")
                file = found.extractfile(entry) if entry.isreg() else None
                return entry, file.read().decode(errors="replace") if file is not None else ""
        except tarfile.TarError as error:
            raise RuntimeFailure(f"the engine does not show {path} of the image: {error}") from error
