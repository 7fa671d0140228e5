"""The folder of a cluster's etcd, seen without it: whether it can be used, and whether a cluster was ever served from it."""

from __future__ import annotations

import os
from pathlib import Path

from services.standalone.files import MAX_SOCKET_PATH

DATA = "data"
# There while a new store has not been of use yet.
UNFINISHED = f"{DATA}.new"
CLIENT_SOCKET = "client.sock:0"
INSTALL_HINT = "etcd is not installed; run `make install` or `apt-get install etcd-server`, or use --store memory, which keeps nothing"


def path_problem(folder: Path) -> str:
    """Why etcd cannot listen in this folder; empty when it can."""
    socket = folder / CLIENT_SOCKET
    too_long = len(os.fsencode(socket)) > MAX_SOCKET_PATH
    return f"the data directory's path is too long for a socket ({socket}); choose a shorter --data-dir" if too_long else ""


def has_state(folder: Path) -> bool:
    """Whether a cluster was ever served from the store in this folder."""
    return (folder / DATA).exists() and not (folder / UNFINISHED).exists()
