"""Where named clusters lie: a folder for each, below one of the person's own."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knarr.service.errors import CommandError
from services.standalone.machine import as_caller, sudo_caller

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
# What a folder that is being removed is called; no cluster's name begins with a dot.
DOOMED = ".deleted-"
# How long one waits for another command that chooses or removes.
WAIT_SECONDS = 60.0


def is_name(text: str) -> bool:
    """Whether a cluster may be called so: it is a part of names of contexts, folders and sockets."""
    return _NAME.fullmatch(text) is not None


def home() -> Path:
    """The home of the person at work; of whom sudo was called by, when root works for somebody."""
    try:
        caller = sudo_caller()
        return Path(pwd.getpwuid(caller[0]).pw_dir) if caller else Path.home()
    except (KeyError, RuntimeError):
        raise CommandError("your home directory is not known; set HOME, or choose a --data-dir") from None


def folder() -> Path:
    """Where the folders of named clusters lie."""
    chosen = os.environ.get("XDG_STATE_HOME", "")
    # One that is no whole path counts for nothing, as the specification says.
    state = Path(chosen) if chosen.startswith("/") else home() / ".local/state"
    return state / "knarr" / "clusters"


def data_dir(name: str) -> Path:
    return folder() / name


def name_of(data_dir: Path) -> str:
    """The name of the cluster whose data directory this is; empty where it has none."""
    whole = data_dir.absolute()
    try:
        return whole.name if is_name(whole.name) and whole.parent == folder() else ""
    except CommandError:
        # Whose home is not known has no named clusters.
        return ""


def names() -> list[str]:
    """Those of all clusters that there are, in their order."""
    place = folder()
    return sorted(entry.name for entry in place.iterdir() if is_name(entry.name) and entry.is_dir()) if place.is_dir() else []


def unknown(name: str) -> CommandError:
    """What is said where there is no cluster of a name."""
    there = ", ".join(names()) or "none"
    return CommandError(f"there is no cluster {name!r} (there are: {there}); `knarr up --name {name}` makes it")


@contextmanager
def settled() -> Iterator[Path]:
    """Within it nobody else takes a place among the clusters, or leaves it. Makes the folder; raises Busy."""
    from services.standalone.lock import held

    place = folder()
    with as_caller():
        place.mkdir(parents=True, exist_ok=True)
    with held(place, wait_seconds=WAIT_SECONDS):
        yield place
