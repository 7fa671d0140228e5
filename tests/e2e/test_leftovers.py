"""What clusters leave that are killed: it is named, and taken away, and a cluster that lives loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.gateway.haproxy.process import PREFIX, RUN, forgotten
from services.kubelet.runtime.catalog import bridge_name
from services.standalone.process import start_time
from tests.support.engine import ensure_image, leftovers
from tests.support.knarr_cluster import BIN, ROOT, KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.docker, pytest.mark.timeout(300)]

INGRESS: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "hello"},
    "spec": {"defaultBackend": {"service": {"name": "hello", "port": {"number": 80}}}},
}
POLICY: dict[str, Any] = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "hello"},
    "spec": {"podSelector": {}, "ingress": [{}]},
}


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[list[KnarrCluster]]:
    ensure_image()
    made = [KnarrCluster(tmp_path / name) for name in ("gone", "kept", "lives")]
    try:
        for cluster in made:
            cluster.up()
            cluster.kubectl("create", "deployment", "hello", "--image=hello:1", "--replicas=2")
            cluster.kubectl("expose", "deployment/hello", "--port=80", "--target-port=8080", "--type=LoadBalancer")
            cluster.apply(POLICY)
            cluster.kubectl("rollout", "status", "deployment/hello", "--timeout=90s")
        for cluster in (made[0], made[2]):
            cluster.apply(INGRESS)
            cluster.kubectl("wait", "ingress/hello", "--for=jsonpath={.status.loadBalancer.ingress}", "--timeout=30s")
        yield made
    finally:
        for cluster in made:
            if cluster.data_dir.is_dir():
                cluster.down()


def identity(cluster: KnarrCluster) -> str:
    return (cluster.data_dir / "cluster-id").read_text()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    while start_time(pid):
        time.sleep(0.01)


def told(cluster: KnarrCluster) -> Any:
    """What ``knarr doctor`` says is left on the machine."""
    done = cluster.knarr("doctor", "--data-dir", str(cluster.data_dir), "-o", "json", check=False)
    return next(check for check in json.loads(done.stdout)["checks"] if check["id"] == "leftovers")


def kernel() -> str:
    """All that names clusters in the kernel, and what is in their ranges."""
    commands = (["nft", "list", "ruleset"], ["iptables", "-S"], ["ip", "route", "show", "table", "all"], ["ip", "address"])
    return "".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands)


def test_what_killed_clusters_left_is_named_and_taken_away(clusters: list[KnarrCluster], tmp_path: Path) -> None:
    gone, kept, lives = clusters
    names = [identity(cluster) for cluster in clusters]
    assert told(lives)["state"] == "pass"
    for cluster in (gone, kept):
        kill(cluster.pid)
    assert forgotten()
    # Pods' volumes hold a folder that is removed.
    subprocess.run(["umount", "-R", "--lazy", *_mounts(gone.data_dir)], check=True)
    shutil.rmtree(gone.data_dir)

    check = told(lives)
    assert check["state"] == "advice" and len(check["findings"]) == 3 and check["findings"][2].startswith("of gateways: /run/")
    for name, cluster in ((names[0], gone), (names[1], kept)):
        (finding,) = (words for words in check["findings"] if name in words)
        assert f"knarr-{name}" in finding and f"knarr-policy-{name}" in finding and bridge_name(name) in finding
        assert finding.count("k8s_hello_hello") == 2 and f"10.{150 + cluster.offset}.0.0/16" in finding
    assert not any(names[2] in words for words in check["findings"])

    # As from a container that was given the engine's socket: neither processes nor networks of others are to be seen.
    apart = ["unshare", "--pid", "--net", "--fork", "--mount-proc", str(BIN / "knarr"), "down", "--leftovers"]
    done = subprocess.run(apart, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1 and "is not to be seen from here" in done.stderr
    assert done.stdout == "gateways: removed folder with keys (1)\n"
    before = leftovers(names[2], lives.data_dir)
    printed = lives.knarr("down", "--leftovers").stdout
    assert [line.split(":")[0] for line in printed.splitlines()] == sorted(names[:2])
    assert told(lives) == {**check, "state": "pass", "findings": []}
    for name, cluster in zip(names[:2], (gone, kept), strict=True):
        assert leftovers(name, cluster.data_dir) == []
        left = kernel()
        assert name not in left and f"10.{150 + cluster.offset}." not in left and f"10.{100 + cluster.offset}." not in left
    assert not forgotten() and not list(Path("/sys/fs/cgroup").glob(f"**/knarr_{names[0]}*"))

    assert leftovers(names[2], lives.data_dir) == before
    address = lives.kubectl("get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}").stdout
    assert list(RUN.glob(f"{PREFIX}{lives.pid}-*")), "a gateway that lives keeps its folder"
    with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
        assert answer.read().startswith(b"hello from")
    assert lives.knarr("down", "--leftovers").stdout == "nothing is left of clusters that do not run\n"
    kept.up()
    kept.kubectl("rollout", "status", "deployment/hello", "--timeout=90s")


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [point for line in lines if (point := line.split()[1]).startswith(str(folder))]
