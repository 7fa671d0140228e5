"""``knarr logs``: what a cluster has written, or one of its components, and what it writes from now on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

from knarr.service.errors import CommandError
from services.standalone.component_log import ETCD, Log, Of
from services.standalone.files import Files


def log_of(files: Files, component: str) -> Path:
    """Where a component writes; CommandError where nothing was ever written."""
    path = files.etcd_log if component == ETCD else files.log
    if not path.exists():
        raise CommandError(f"there is no {path}; start the cluster first: `knarr up`")
    return path


def show(files: Files, component: str, tail: int | None, follow: bool, tell: Callable[[str], object]) -> None:
    """Tells the last ``tail`` lines of a component (empty: of all), or all, and with ``follow`` goes on until it is interrupted."""
    is_wanted = Of(component)
    with Log(log_of(files, component)) as log:
        for line in deque((line for line in log.kept() if is_wanted(line)), maxlen=tail):
            tell(line)
        if follow:
            for line in log.coming():
                if is_wanted(line):
                    tell(line)
