"""A cluster of a test's own, driven from outside by the ``knarr`` command and kubectl."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
from dataclasses import dataclass, field

from tests.support.cluster_client import BIN, ROOT, ClusterClient, container_id, is_ready, run

__all__ = ["BIN", "ROOT", "KnarrCluster", "container_id", "is_ready"]


@dataclass
class KnarrCluster(ClusterClient):
    """``offset`` keeps its ports and ranges apart from those of other clusters on the machine: the first that is free."""

    offset: int = field(default_factory=lambda: free_offset())
    runtime: str = "docker"
    datapath: str = "nftables"
    # Where the engine listens, with the runtime `containerd`.
    endpoint: str = ""

    @property
    def ports(self) -> dict[str, int]:
        return ports_of(self.offset)

    @property
    def options(self) -> list[str]:
        ranges = [
            f"--service-cidr=10.{100 + self.offset}.0.0/16",
            f"--cluster-cidr=10.{150 + self.offset}.0.0/16",
            f"--pod-cidr=10.{150 + self.offset}.0.0/24",
            f"--load-balancer-pool=10.{200 + self.offset}.0.0/24",
        ]
        return [f"--{name}-port={port}" for name, port in self.ports.items()] + ranges

    @property
    def pid(self) -> int:
        return int((self.data_dir / "knarr.pid").read_text().split()[0])

    @property
    def node(self) -> str:
        return str(json.loads((self.data_dir / "state.json").read_text())["node"])

    def knarr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run([str(BIN / "knarr"), *arguments], check=check, environment=self.environment)

    @property
    def choices(self) -> list[str]:
        """What `knarr up` is told."""
        made = ["--data-dir", str(self.data_dir), "--runtime", self.runtime, "--datapath", self.datapath]
        return [*made, *(["--container-runtime-endpoint", self.endpoint] if self.endpoint else []), *self.options]

    def up(self) -> str:
        return self.knarr("up", *self.choices).stdout

    def begin_up(self) -> subprocess.Popen[str]:
        """The same, for who does not wait for it."""
        command = [str(BIN / "knarr"), "up", *self.choices]
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **self.environment}, stdout=subprocess.DEVNULL, text=True)

    def down(self) -> str:
        return self.knarr("down", "--data-dir", str(self.data_dir)).stdout

    def grpcurl(self, component: str, *arguments: str) -> str:
        """Calls a component; ``arguments`` follow the address, options precede it with ``-``."""
        token = (self.data_dir / "token").read_text().strip()
        address = json.loads((self.data_dir / "state.json").read_text())["components"][component]
        options = [argument for argument in arguments if argument.startswith("-d=")]
        rest = [argument for argument in arguments if not argument.startswith("-d=")]
        data = ["-d", options[0][3:]] if options else []
        ca = str(self.data_dir / "pki/ca.crt")
        return run([str(BIN / "grpcurl"), "-cacert", ca, "-H", f"authorization: Bearer {token}", *data, address, *rest]).stdout

    def logs(self) -> list[str]:
        return (self.data_dir / "knarr.log").read_text().splitlines()[-40:]


PORT_NAMES = (
    "rest",
    "apiserver",
    "mutual",
    "kubelet",
    "proxy",
    "controller",
    "scheduler",
    "dns",
    "cloud",
    "nameserver",
    "gateway",
    "gateway-http",
    "gateway-https",
)
OFFSETS = range(1, 40)


def ports_of(offset: int) -> dict[str, int]:
    return {name: 23000 + 16 * offset + number for number, name in enumerate(PORT_NAMES)}


def free_offset() -> int:
    """The first offset whose ports and ranges nobody uses; it is taken for as long as this process lives."""
    for offset in OFFSETS:
        # An abstract socket is a lock that goes with its owner.
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0knarr-test-cluster-{offset}")
        except OSError:
            lock.close()
            continue
        _locks.append(lock)
        return offset
    raise AssertionError("every offset for a test's cluster is taken; end other test runs on this machine")


_locks: list[socket.socket] = []


@atexit.register
def _release() -> None:
    for lock in _locks:
        lock.close()
