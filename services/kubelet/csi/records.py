"""What the node keeps on disk of volumes of drivers: enough to undo everything after a crash between any two calls.

Before a volume is staged or published a file says so, and it goes when the driver has said that this is undone. The files are laid and
written as Kubernetes does it. Everything here blocks, and may raise OSError.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.kubelet.csi.places import DATA, Places
from services.kubelet.csi.volume import EPHEMERAL, PERSISTENT, VolumeKey

log = logging.getLogger(__name__)

MODE = 0o750


@dataclass(frozen=True, slots=True)
class Staged:
    """A volume that the node has, staged or about to be. ``attached``: the cluster has attached it, and must not detach it yet."""

    driver: str
    handle: str
    attached: bool = False

    @property
    def key(self) -> VolumeKey:
        return self.driver, self.handle


@dataclass(frozen=True, slots=True)
class Published:
    """A volume that a pod has, or is about to."""

    uid: str
    name: str
    driver: str
    handle: str
    inline: bool = False

    @property
    def key(self) -> VolumeKey:
        return self.driver, self.handle


class Records:
    """Of one node."""

    def __init__(self, places: Places, node_name: str) -> None:
        self._places, self._node = places, node_name

    def keep_staged(self, record: Staged) -> None:
        """The folder at which the volume is to be staged is there from then on."""
        path = self._places.staged(record.driver, record.handle)
        path.mkdir(MODE, parents=True, exist_ok=True)
        _write(path.parent / DATA, {"driverName": record.driver, "volumeHandle": record.handle, "attached": record.attached})

    def staged(self) -> Iterator[Staged]:
        """All that the node has."""
        for path in self._places.staging.glob(f"*/*/{DATA}"):
            said = _read(path)
            if said is not None:
                yield Staged(str(said.get("driverName", "")), str(said.get("volumeHandle", "")), bool(said.get("attached")))

    def forget_staged(self, key: VolumeKey) -> None:
        """Once it is unstaged. What is still mounted there is not touched."""
        path = self._places.staged(*key)
        _remove_folder(path)
        (path.parent / DATA).unlink(missing_ok=True)
        _remove_folder(path.parent)

    def keep_published(self, record: Published, attachment: str) -> None:
        folder = self._places.published(record.uid, record.name).parent
        folder.mkdir(MODE, parents=True, exist_ok=True)
        said = {
            "specVolID": record.name,
            "volumeHandle": record.handle,
            "driverName": record.driver,
            "nodeName": self._node,
            "attachmentID": attachment,
            "volumeLifecycleMode": EPHEMERAL if record.inline else PERSISTENT,
        }
        _write(folder / DATA, said)

    def of_pod(self, uid: str) -> list[Published]:
        return [record for path in sorted(self._places.of_pod(uid).glob(f"*/{DATA}")) if (record := _published(uid, path)) is not None]

    def published(self) -> Iterator[Published]:
        """All that the node's pods have."""
        with contextlib.suppress(FileNotFoundError):
            for path in self._places.pods.iterdir():
                yield from self.of_pod(path.name)

    def forget_published(self, record: Published) -> None:
        """Once it is unpublished. What is still mounted there is not touched."""
        path = self._places.published(record.uid, record.name)
        _remove_folder(path)
        (path.parent / DATA).unlink(missing_ok=True)
        _remove_folder(path.parent)


def _published(uid: str, path: Path) -> Published | None:
    said = _read(path)
    if said is None:
        return None
    is_inline = said.get("volumeLifecycleMode") == EPHEMERAL
    return Published(uid, path.parent.name, str(said.get("driverName", "")), str(said.get("volumeHandle", "")), is_inline)


def _write(path: Path, said: Mapping[str, object]) -> None:
    """Whole, or not at all."""
    fresh = path.with_name(f".{path.name}")
    with fresh.open("w") as file:
        json.dump(said, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _read(path: Path) -> dict[str, object] | None:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        log.warning("what was kept of a volume cannot be read", extra={"path": str(path), "error": str(error)})
        return None
    return said if isinstance(said, dict) else None


def _remove_folder(path: Path) -> None:
    """One that is not there is no error; one in which something lies, or at which something is mounted, is: it may be data."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
