"""Where the files of a one-machine cluster lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from knarr.service.files import PRIVATE, write_whole

# The longest path a Unix socket may have on Linux is 107 bytes.
MAX_SOCKET_PATH = 107


@dataclass(frozen=True, slots=True)
class Files:
    """The layout of a data directory."""

    root: Path

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def tokens(self) -> Path:
        """Hashes of all tokens, for whoever checks callers."""
        return self.pki / "tokens.csv"

    @property
    def admin_token(self) -> Path:
        return self.root / "token"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def etcd(self) -> Path:
        return self.root / "etcd"

    @property
    def kubelet(self) -> Path:
        return self.root / "kubelet"

    @property
    def pid(self) -> Path:
        return self.root / "knarr.pid"

    @property
    def log(self) -> Path:
        return self.root / "knarr.log"

    @property
    def state(self) -> Path:
        """What the running cluster tells about itself; there only once it is ready."""
        return self.root / "state.json"

    @property
    def settings(self) -> Path:
        """What was chosen for this cluster."""
        return self.root / "settings.json"

    @property
    def identity(self) -> Path:
        return self.root / "cluster-id"

    def prepare(self) -> bool:
        """Makes the directory, closed to others: it holds keys and the cluster's state. False when it was there."""
        fresh = not self.root.exists()
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        return fresh

    def cluster_id(self) -> str:
        """A name for this cluster that stays: it labels all that is made for it outside."""
        if not self.identity.exists():
            write_whole(self.identity, os.urandom(4).hex().encode(), mode=PRIVATE)
        return self.identity.read_text().strip()
