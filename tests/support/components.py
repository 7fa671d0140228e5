"""A hollow cluster whose components are processes of their own, on loopback, as on real machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knarr.service.authentication import NODE_PREFIX, NODES, TokenTable, User, bound_token, hash_token
from knarr.service.certificates import CertificateAuthority
from services.standalone.credentials import Credentials, write_kubeconfig
from tests.support.cluster_client import BIN, ROOT
from tests.support.component_processes import LOOPBACK, STOP_SECONDS, ComponentProcesses
from tests.support.etcd import EtcdServer

NODE = "hollow-1"
# Quick enough for a test; the order of magnitude between them is Kubernetes' own.
ELECTION = ("--leader-elect", "--leader-elect-lease-duration=2s", "--leader-elect-renew-deadline=1.5s", "--leader-elect-retry-period=0.3s")


def node_user(name: str) -> User:
    return User(f"{NODE_PREFIX}{name}", groups=(NODES,))


USERS = {
    "apiserver": User("system:kube-apiserver", groups=("system:masters",)),
    "scheduler": User("system:kube-scheduler"),
    "controller": User("system:kube-controller-manager"),
    "cloud": User("system:cloud-controller-manager"),
    "kubelet": node_user(NODE),
    "proxy": User("system:kube-proxy"),
    "admin": User("admin", groups=("system:masters",)),
}


class Components(ComponentProcesses):
    """etcd and the components, each with certificate and token of its own. ``stop`` ends all of them."""

    # Where else than on loopback the components are reached.
    hosts: tuple[str, ...] = ()
    # The nodes whose kubelets may be started.
    node_names: tuple[str, ...] = (NODE,)
    # Further options by component.
    more: Mapping[str, tuple[str, ...]] = {}

    def __init__(self, folder: Path) -> None:
        # Each candidate listens on a port of its own.
        elected = ("scheduler", "scheduler-2", "controller", "controller-2", "cloud", "cloud-2")
        super().__init__(folder, ("apiserver", *elected, "kubelet", "proxy"))
        self._etcd_folder = folder / "etcd"
        self._etcd_folder.mkdir()
        self.etcd = EtcdServer(self._etcd_folder)
        self._make_trust()

    def _make_trust(self) -> None:
        authority = CertificateAuthority.create()
        authority.pair.save(self.data_dir, "ca")
        # Each node may write its own object alone; ``kubelet.token`` is that of the usual one.
        users = USERS | {node: node_user(node) for node in self.node_names}
        for name in users:
            (self.data_dir / f"{name}.token").write_text(f"secret-of-{name}\n")
        for name in USERS:
            names = self.node_names if name == "kubelet" else ()
            authority.issue(name, hosts=[LOOPBACK, *self.hosts, *names]).save(self.data_dir, name)
        shown = {bound_token("secret-of-apiserver", node): USERS["apiserver"] for node in self.node_names}
        known = {**{f"secret-of-{name}": user for name, user in users.items()}, **shown}
        tokens = TokenTable({hash_token(token): user for token, user in known.items()})
        tokens.save(self.data_dir / "tokens.csv")
        admin = authority.issue("admin", organizations=["system:masters"])
        credentials = Credentials(authority.pair.certificate, admin, admin, "secret-of-admin", "secret-of-apiserver", tokens)
        write_kubeconfig(self.data_dir / "kubeconfig", credentials, self.server)

    def options(self, name: str) -> list[str]:
        """The command line of a component; ``scheduler-2`` is a second scheduler."""
        service = name.partition("-")[0]
        files = {"cert": f"{service}.crt", "key": f"{service}.key", "ca": "ca.crt", "tokens": "tokens.csv", "token": f"{service}.token"}
        shared = [f"--{option}={self.data_dir / file}" for option, file in files.items()]
        shared += [f"--listen={self.address(name)}", "--log-style=text"]
        if service != "apiserver":
            shared += [f"--apiserver={self.address('apiserver')}", f"--metrics-listen={LOOPBACK}:0"]
        own = {
            "apiserver": self.apiserver_options,
            "scheduler": list(ELECTION),
            "controller": list(ELECTION),
            "cloud": list(ELECTION),
            "kubelet": self.kubelet_options(NODE),
            "proxy": ["--datapath=userspace", f"--instance={os.getpid()}", *self.ranges],
        }
        return ["-m", f"services.{service}", *shared, *own[service], *self.more.get(service, ())]

    def stop(self) -> None:
        """Ends all of them, and removes what a proxy leaves in force when it ends."""
        try:
            super().stop()
        finally:
            if (self.data_dir / "proxy.log").exists():
                self._uninstall()

    def _uninstall(self) -> None:
        command = [sys.executable, "-m", "services.proxy.uninstall", f"--instance={os.getpid()}", *self.ranges]
        subprocess.run(command, check=True, cwd=ROOT, timeout=STOP_SECONDS)

    def call(self, name: str, method: str, request: dict[str, Any] | None = None) -> Any:
        """The answer of a component's gRPC port to the admin, by grpcurl; None while it does not answer."""
        command = [str(BIN / "grpcurl"), "-cacert", str(self.data_dir / "ca.crt"), "-H", "authorization: Bearer secret-of-admin"]
        command += ["-max-time", "5", "-d", json.dumps(request or {}), self.address(name), method]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def healthy(self, name: str) -> bool:
        answer = self.call(name, "grpc.health.v1.Health/Check")
        return bool(answer and answer.get("status") == "SERVING")

    def holder(self, lease: str) -> str:
        """Who holds a lease of kube-system."""
        found = self.kubectl("get", "lease", "-n", "kube-system", lease, "-o", "jsonpath={.spec.holderIdentity}", check=False)
        return found.stdout
