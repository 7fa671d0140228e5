"""The components as compose.yaml starts them, with what ``services.compose.trust`` makes, as processes on loopback: no containers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import yaml

from services.apiserver.bootstrap import service_names
from services.compose import trust
from services.kubelet.node.mounts import unmount_all
from tests.support.cluster_client import ROOT, ClusterClient
from tests.support.etcd import EtcdServer
from tests.support.knarr_cluster import free_offset
from tests.support.ports import free_port
from tests.support.processes import end

LOOPBACK, NODE = "127.0.0.1", "node-1"
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
STOP_SECONDS = 20.0


@cache
def composed(service: str) -> list[str]:
    """The command of a service of compose.yaml."""
    return list(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"][service]["command"])


class TrustedCluster(ClusterClient):
    """``start`` by the names of PARTS; ``stop`` ends all."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.trust = folder / "trust"
        self.ports = {part: free_port() for part in PARTS}
        self.rest, self.mutual = free_port(), free_port()
        offset = free_offset()
        self._services, self._pods = f"10.{100 + offset}.0.0/16", f"10.{150 + offset}.0.0/16"
        self.make_trust()
        (folder / "kubeconfig").symlink_to(self.trust / "admin/kubeconfig")
        (folder / "etcd").mkdir()
        self.etcd = EtcdServer(folder / "etcd", tls=self.trust / "etcd")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def make_trust(self) -> None:
        """What compose's `setup` does before the first start, and every day."""
        found = trust.members({"apiserver": list(service_names())}, {NODE: LOOPBACK})
        trust.make(self.trust, found, f"https://{LOOPBACK}:{self.rest}")
        trust.make_etcd(self.trust, {"etcd": []})

    def address(self, part: str) -> str:
        return f"{LOOPBACK}:{self.ports[part]}"

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
        ranges = [f"--service-cidr={self._services}", f"--cluster-cidr={self._pods}"]
        return {
            "apiserver": [
                f"--etcd={self.etcd.endpoint}",
                f"--rest-listen={LOOPBACK}:{self.rest}",
                f"--mutual-listen={LOOPBACK}:{self.mutual}",
                ranges[0],
            ],
            "cloud": ["--local-pool=192.0.2.80-192.0.2.90"],
            "dns-1": [f"--address={LOOPBACK}", f"--port={free_port()}", *ranges],
            "kubelet-1": [
                *("--runtime=hollow", f"--data-dir={self.data_dir / 'kubelet'}", f"--node-name={NODE}", f"--node-ip={LOOPBACK}"),
                f"--pod-cidr={self._pods.replace('/16', '/24')}",
            ],
            "proxy-1": ["--datapath=userspace", f"--node-name={NODE}", f"--instance={os.getpid()}", *ranges],
        }.get(part, [])

    def start(self, *parts: str) -> None:
        """Starts components and returns at once: they wait for one another themselves."""
        for part in parts:
            with (self.data_dir / f"{part}.log").open("ab") as log:
                self.processes[part] = subprocess.Popen([sys.executable, *self.options(part)], stdout=log, stderr=log, cwd=ROOT)

    def end(self, part: str) -> None:
        end(self.processes.pop(part), signal.SIGTERM, STOP_SECONDS)

    def stop(self) -> None:
        """Ends all of them, the API server and etcd last."""
        with ExitStack() as stack:
            stack.callback(self.etcd.stop)
            # Pods go on without their kubelet, and keep their volumes.
            stack.callback(unmount_all, self.data_dir / "kubelet")
            for part in sorted(self.processes, key=lambda part: part != "apiserver"):
                stack.callback(self.end, part)

    def logs(self) -> list[str]:
        return [f"{path.stem}: {line}" for path in sorted(self.data_dir.glob("*.log")) for line in path.read_text().splitlines()[-15:]]
