"""What a person may choose about a one-machine cluster, and where its files lie."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass, fields
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import orjson

DEFAULT_DATA_DIR = Path(".knarr")
# The longest path a Unix socket may have on Linux is 107 bytes.
MAX_SOCKET_PATH = 107


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports; 0 lets the system choose."""

    # The Kubernetes REST API.
    rest: int = 6443
    # gRPC of each component.
    apiserver: int = 6444
    kubelet: int = 10250
    proxy: int = 10256
    controller: int = 10257
    scheduler: int = 10259
    dns: int = 10253
    cloud: int = 10258
    # Names are asked for here, UDP and TCP, on the node's address.
    nameserver: int = 10053


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One cluster in one process."""

    data_dir: Path = DEFAULT_DATA_DIR
    # `docker` runs containers; `hollow` simulates them.
    runtime: str = "docker"
    # `nftables` (kernel) or `userspace` (relay).
    datapath: str = "nftables"
    # Address that the API server and the components listen on.
    listen_address: str = "127.0.0.1"
    ports: Ports = Ports()
    node_name: str = ""
    service_cidr: str = "10.96.0.0/16"
    # Range of all pods, and the part of it that is this node's.
    cluster_cidr: str = "10.244.0.0/16"
    pod_cidr: str = "10.244.0.0/24"
    # Where Services of type LoadBalancer get their addresses.
    load_balancer_pool: str = "10.97.0.0/24"
    # The ending of all names in the cluster.
    cluster_domain: str = "cluster.local"
    # Inclusive.
    node_ports: tuple[int, int] = (30000, 32767)
    log_style: str = "text"
    log_level: str = "info"

    @property
    def node(self) -> str:
        """The node's name: as chosen, or the machine's."""
        return self.node_name or socket.gethostname().lower()

    @property
    def nameserver_address(self) -> str:
        """The Service address of the cluster's DNS: the tenth, as Kubernetes' installers choose it."""
        return str(IPv4Network(self.service_cidr)[10])

    @property
    def files(self) -> Files:
        return Files(self.data_dir.absolute())

    def save(self) -> None:
        """Keeps what was chosen with the cluster: its next start chooses the same, its removal knows what to remove."""
        self.files.settings.write_bytes(orjson.dumps(self.as_dict(), option=orjson.OPT_INDENT_2))

    def as_dict(self) -> dict[str, Any]:
        """Everything but the place where it is kept."""
        return {name: value for name, value in asdict(self).items() if name != "data_dir"}

    @classmethod
    def saved(cls, data_dir: Path) -> ClusterSettings:
        """What was chosen last in a data directory; the defaults in a new one."""
        try:
            kept = orjson.loads(Files(data_dir.absolute()).settings.read_bytes())
        except FileNotFoundError:
            return cls(data_dir=data_dir)
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in kept.items() if name in known}
        return cls(data_dir=data_dir, **{**values, "ports": Ports(**kept["ports"]), "node_ports": tuple(kept["node_ports"])})


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
        """What the running cluster tells about itself: ports, version, when it became ready."""
        return self.root / "state.json"

    @property
    def settings(self) -> Path:
        """What was chosen for this cluster."""
        return self.root / "settings.json"

    @property
    def identity(self) -> Path:
        return self.root / "cluster-id"

    def prepare(self) -> None:
        """Makes the directory, closed to others: it holds keys and the cluster's state."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)

    def cluster_id(self) -> str:
        """A name for this cluster that stays: it labels all that is made for it outside."""
        if not self.identity.exists():
            self.identity.write_text(os.urandom(4).hex())
        return self.identity.read_text().strip()
