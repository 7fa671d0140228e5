"""File systems of the network, mounted by the machine's own `mount`, which knows what its kernel and helpers can."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from services.kubelet.node.mounts import mounts_below

# A server that does not answer holds up one thread for so long.
PATIENCE_SECONDS = 30.0


class MountFailed(Exception):
    """Why, in the words of `mount`."""


def mount_nfs(server: str, path: str, target: Path, options: Sequence[str] = ()) -> None:
    """Mounts a directory of an NFS server unless it is mounted. Raises MountFailed; what it says is for a person."""
    if os.path.realpath(target) in mounts_below(target):
        return
    # An address of IPv6 has colons itself.
    host = f"[{server}]" if ":" in server and not server.startswith("[") else server
    command = ["mount", "-t", "nfs", *(("-o", ",".join(options)) if options else ()), "--", f"{host}:{path}", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise MountFailed("this node has no program `mount`") from error
    except subprocess.TimeoutExpired as error:
        raise MountFailed(f"NFS server {server} did not answer within {PATIENCE_SECONDS:.0f} s") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise MountFailed(f"mount failed: exit status {done.returncode}: {said} (a node needs NFS in its kernel, and nfs-common)")
