"""Where the files of a one-machine cluster lie."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, sweep, write_whole

# The longest path a Unix socket may have on Linux is 107 bytes.
MAX_SOCKET_PATH = 107
# By one of these a directory is known to be a cluster's; the last are those of the engine that `make install` starts.
OWN = frozenset(
    {"pki", "etcd", "token", "settings.json", "cluster-id", "knarr.log", "knarr.pid", "state.json", "dockerd.log", "dockerd.pid"}
)
_IDENTITY = re.compile(r"[0-9a-f]{8}")


def _is_own(name: str) -> bool:
    """A file of a cluster, or what a write left whose process was killed."""
    return name in OWN or any(name.startswith(f".{own}.") for own in OWN)


@dataclass(frozen=True, slots=True)
class Files:
    """The layout of a data directory."""

    root: Path

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def front_proxy(self) -> Path:
        """The authority by which extension API servers know the API server, and what it shows to them."""
        return self.pki / "front-proxy"

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
    def fellows(self) -> Path:
        """Folders of the nodes that share the machine, by name. Beside what the kubelet of the cluster's own node keeps: what is mounted
        below goes with all of it."""
        return self.kubelet / "nodes"

    def fellow_proxy(self, name: str) -> Path:
        """A Unix socket at which the proxy of such a node answers who is outside its network."""
        return self.fellows / name / "proxy.sock"

    @property
    def gateway(self) -> Path:
        """Configurations of the proxy for requests from outside, while they are in force."""
        return self.root / "gateway"

    @property
    def pid(self) -> Path:
        return self.root / "knarr.pid"

    @property
    def log(self) -> Path:
        return self.root / "knarr.log"

    @property
    def etcd_log(self) -> Path:
        return self.etcd / "etcd.log"

    @property
    def audit_log(self) -> Path:
        """Who changed what; its former files lie beside it."""
        return self.root / "audit.log"

    @property
    def state(self) -> Path:
        """What the running cluster tells about itself; there only once it is ready."""
        return self.root / "state.json"

    def read_state(self) -> dict[str, Any]:
        """What it has told. Raises FileNotFoundError where none is ready, CommandError for a file that is damaged."""
        try:
            found = orjson.loads(self.state.read_bytes())
            if "apiserver" in found["components"]:
                return dict(found)
        except (orjson.JSONDecodeError, KeyError, TypeError):
            pass
        raise CommandError(f"{self.state} is damaged; `knarr down` and `knarr up` make it anew")

    @property
    def door(self) -> Path:
        """Where nodes of the machine that have a network of their own reach the API server: a Unix socket, for who shows a certificate."""
        return self.root / "api.sock"

    @property
    def settings(self) -> Path:
        """What was chosen for this cluster."""
        return self.root / "settings.json"

    @property
    def identity(self) -> Path:
        return self.root / "cluster-id"

    def prepare(self) -> bool:
        """Makes the directory, closed to others: it holds keys and the cluster's state. False when it was there.

        Raises CommandError for a directory of something else, which would be closed, too.
        """
        fresh = not self.root.exists()
        names = [] if fresh else [path.name for path in self.root.iterdir()]
        if names and not any(_is_own(name) for name in names):
            raise CommandError(f"{self.root} holds files that are no cluster's; choose an empty --data-dir, or a new one")
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        return fresh

    def abandon(self) -> None:
        """Removes a directory in which nothing but a choice was kept: no cluster was ever started from it. The caller holds it."""
        self.settings.unlink(missing_ok=True)
        self.root.rmdir()

    def sweep(self) -> None:
        """Removes what a process that was killed had not brought to its place. The caller holds the directory."""
        for folder in (self.root, self.pki, self.front_proxy):
            sweep(folder)

    def hand_over(self, user: int, group: int) -> None:
        """Gives the directory, and what a client needs, to whom root started the cluster for. The keys and the store stay root's.

        Somebody else's directory is left alone.
        """
        if self.root.stat().st_uid not in (os.geteuid(), user):
            return
        names = (self.kubeconfig, self.admin_token, self.pki / "ca.crt", self.state, self.settings, self.identity, self.pid, self.log)
        for path in (self.root, self.pki, *names):
            with suppress(FileNotFoundError):
                # A link is handed over itself, never what it leads to.
                os.chown(path, user, group, follow_symlinks=False)

    def cluster_id(self) -> str:
        """A name for this cluster that stays: it labels all that is made for it outside."""
        text = self.known_id()
        if not text:
            text = os.urandom(4).hex()
            write_whole(self.identity, text.encode(), mode=PRIVATE)
        return text

    def known_id(self) -> str:
        """The same where it was given already; empty when there is none, or what is there is none."""
        text = self.identity.read_text(errors="replace").strip() if self.identity.exists() else ""
        return text if _IDENTITY.fullmatch(text) else ""
