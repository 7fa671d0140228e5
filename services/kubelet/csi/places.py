"""Where volumes of drivers lie on the node, as Kubernetes lays them. Pure.

Published drivers know the kubelet's folder as ``/var/lib/kubelet``: their manifests mount it from there, and say so of their sockets. Here
it is ``--data-dir``. A pod that mounts a path below ``/var/lib/kubelet`` is shown that of ``--data-dir``, and a driver that names its
socket so is told all paths so.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

# What Kubernetes' kubelet calls its folder.
KUBELET = "/var/lib/kubelet"
PLUGIN = "kubernetes.io/csi"
POD_FOLDER = "kubernetes.io~csi"
DATA = "vol_data.json"


def seen_here(path: str, data_dir: str) -> str:
    """Where a path lies on this node that somebody else knows by Kubernetes' name of the kubelet's folder."""
    return f"{data_dir}{path.removeprefix(KUBELET)}" if data_dir and _is_below(path, KUBELET) else path


def told_to(endpoint: str, path: Path, data_dir: Path) -> str:
    """What a driver is told of a path of this node: in the words in which it told of its own socket."""
    if _is_below(endpoint, KUBELET) and _is_below(str(path), str(data_dir)):
        return f"{KUBELET}{str(path).removeprefix(str(data_dir))}"
    return str(path)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


class Places:
    """The folders below one kubelet's own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()

    @property
    def registry(self) -> Path:
        """Where drivers make themselves known, a socket each."""
        return self.data_dir / "plugins_registry"

    @property
    def plugins(self) -> Path:
        """Where drivers have their own sockets."""
        return self.data_dir / "plugins"

    @property
    def staging(self) -> Path:
        """Where volumes are staged, by driver."""
        return self.plugins / PLUGIN

    def volume(self, driver: str, handle: str) -> Path:
        """What the node keeps of a volume: a handle may be anything, and long."""
        return self.staging / driver / hashlib.sha256(handle.encode()).hexdigest()

    def staged(self, driver: str, handle: str) -> Path:
        return self.volume(driver, handle) / "globalmount"

    @property
    def pods(self) -> Path:
        return self.data_dir / "pods"

    def of_pod(self, uid: str) -> Path:
        return self.pods / uid / "volumes" / POD_FOLDER

    def published(self, uid: str, name: str) -> Path:
        """Where a pod has a volume; ``name`` is the PersistentVolume's, of an inline one its own."""
        return self.of_pod(uid) / name / "mount"
