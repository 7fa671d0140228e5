"""A place for a new named cluster, and taking one away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from knarr.service.errors import CommandError
from services.command.named import place, slots
from services.standalone import process
from services.standalone.lock import held
from services.standalone.preflight import port_problems, read_name_server_problems, read_route_problems
from services.standalone.settings import ClusterSettings


def reserve(data_dir: Path) -> bool:
    """Chooses ports and ranges for a cluster that has none, and keeps them with it; False where it has. Raises CommandError."""
    with place.settled():
        files = ClusterSettings(data_dir=data_dir).files
        if files.settings.exists():
            return False
        chosen = slots.choose(data_dir, _others(data_dir.name), _is_free)
        files.prepare()
        chosen.save()
        return True


def _others(name: str) -> Iterator[ClusterSettings]:
    """What the other clusters have, as far as it can be read."""
    for other in place.names():
        if other != name:
            # One that root is still making cannot be read; what it listens on is seen to be taken.
            with suppress(PermissionError):
                yield ClusterSettings.salvaged(place.data_dir(other))[0]


def _is_free(settings: ClusterSettings) -> bool:
    if any(port_problems(settings)):
        return False
    return shutil.which("ip") is None or not any((*read_route_problems(settings), *read_name_server_problems(settings)))


def discard(data_dir: Path) -> None:
    """Removes the files of a cluster that does not run. Raises CommandError, before anything is removed, where that cannot be.

    It is gone in one step; what a removal that was cut short has left is removed with the next one.
    """
    # What tells of mounts need not be loaded by who removes nothing.
    from services.kubelet.node.mounts import mounts_below

    with place.settled() as clusters, held(data_dir):
        files = ClusterSettings(data_dir=data_dir).files
        if data_dir.is_symlink():
            raise CommandError(f"{data_dir} is a link to {data_dir.resolve()}, which is yours to remove; then remove the link")
        if process.find(files) is not None:
            raise CommandError(f"the cluster {data_dir.name} runs; somebody has started it again")
        if mounted := next(iter(mounts_below(files.root)), None):
            raise CommandError(f"{mounted} is still mounted; `umount` it, then run this again")
        if os.geteuid() != 0 and any(entry.stat(follow_symlinks=False).st_uid != os.geteuid() for entry in os.scandir(data_dir)):
            raise CommandError(f"the cluster {data_dir.name} was started by root; run this with sudo")
        doomed = clusters / f"{place.DOOMED}{os.urandom(4).hex()}"
        data_dir.rename(doomed)
        shutil.rmtree(doomed)
        for other in clusters.glob(f"{place.DOOMED}*"):
            # What root has left is root's to remove.
            shutil.rmtree(other, ignore_errors=True)
