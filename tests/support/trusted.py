"""The components as compose.yaml starts them, with what ``services.compose.trust`` makes, as processes on loopback: no containers."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import yaml

from services.apiserver.bootstrap import service_names
from services.compose import trust
from services.kubelet.node.mounts import unmount_all
from tests.support.cluster_client import ROOT
from tests.support.component_processes import LOOPBACK, ComponentProcesses
from tests.support.etcd import EtcdServer
from tests.support.ports import free_port

NODE = "node-1"
# The services of compose.yaml, by the folder of each and the component that it is.
PARTS = {
    "apiserver": "apiserver",
    "scheduler": "scheduler",
    "controller": "controller",
    "cloud": "cloud",
    "dns-1": "dns",
    "kubelet-1": f"{NODE}/kubelet",
    "proxy-1": f"{NODE}/proxy",
}
# Options of theirs that say whom they trust and how they are known: those are taken as they are.
TRUSTED = ("--trust", "--credential", "--client-ca-file", "--leader-elect")


@cache
def composed(service: str) -> list[str]:
    """The command of a service of compose.yaml."""
    return list(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"][service]["command"])


class TrustedCluster(ComponentProcesses):
    """Its parts are PARTS."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, PARTS)
        self.trust = folder / "trust"
        self.make_trust()
        (folder / "kubeconfig").symlink_to(self.trust / "admin/kubeconfig")
        (folder / "etcd").mkdir()
        self.etcd = EtcdServer(folder / "etcd", tls=self.trust / "etcd")

    def make_trust(self) -> None:
        """What compose's `setup` does before the first start, and every day."""
        found = trust.members({"apiserver": list(service_names())}, {NODE: LOOPBACK})
        trust.make(self.trust, found, self.server)
        trust.make_etcd(self.trust, {"etcd": []})

    def options(self, part: str) -> list[str]:
        """What compose gives it about trust, and what it needs here."""
        module, *words = composed(part)
        folder = f"/etc/knarr/{PARTS[part].rpartition('/')[2]}" if "/" in PARTS[part] else "/etc/knarr"
        kept = [word.replace(folder, str(self.trust / PARTS[part])) for word in words if word.partition("=")[0] in TRUSTED]
        listening = [f"--listen={self.address(part)}", "--log-style=text"]
        if part != "apiserver":
            listening += [f"--apiserver={LOOPBACK}:{self.mutual}", f"--metrics-listen={LOOPBACK}:0"]
        return ["-m", module, *kept, *listening, *self.own(part)]

    def own(self, part: str) -> list[str]:
        """What a component needs on this machine."""
        return {
            "apiserver": self.apiserver_options,
            "cloud": ["--local-pool=192.0.2.80-192.0.2.90"],
            "dns-1": [f"--address={LOOPBACK}", f"--port={free_port()}", *self.ranges],
            "kubelet-1": self.kubelet_options(NODE),
            "proxy-1": ["--datapath=userspace", f"--node-name={NODE}", f"--instance={os.getpid()}", *self.ranges],
        }.get(part, [])

    def stop(self) -> None:
        """Ends all of them. Pods go on without their kubelet, and keep their volumes: those are unmounted."""
        try:
            super().stop()
        finally:
            unmount_all(self.data_dir / "kubelet")
