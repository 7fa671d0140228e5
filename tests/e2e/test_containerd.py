"""A whole cluster on containerd, as its user has it, and what is left of it."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from glob import glob
from pathlib import Path

import pytest

from services.kubelet.cgroups.names import root_of
from tests.kubelet.containerd_support import IMAGE, Containerd, containerd
from tests.support.engine import IMAGE as LOADED
from tests.support.engine import ensure_image
from tests.support.knarr_cluster import KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SERVE = "hostname >/tmp/index.html; echo ready; exec httpd -f -v -p 8080 -h /tmp"
WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "web",
                        "image": IMAGE,
                        "imagePullPolicy": "Never",
                        "command": ["sh", "-c", SERVE],
                        "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
                    }
                ],
            },
        },
    },
}


@pytest.fixture
def engine() -> Iterator[Containerd]:
    with containerd() as made:
        yield made


def said(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def left(engine: Containerd, cluster_id: str = "none") -> set[str]:
    """What pods and their network are on a machine. Of control groups those of one cluster: all machines of one kernel see all of them."""
    sets = [line for line in said("iptables-save") if "CNI" in line]
    links = [line.split(":")[1].strip().partition("@")[0] for line in said("ip", "-oneline", "link")]
    spaces = said("ip", "netns", "list")
    groups = glob(f"/sys/fs/cgroup/**/{root_of(cluster_id, '')[0]}*", recursive=True)  # noqa: PTH207
    tasks = said("ctr", "--address", engine.endpoint.removeprefix("unix://"), "--namespace", "k8s.io", "containers", "list", "--quiet")
    files = [str(path) for path in (engine.place / "net.d").glob("*")]
    return {*sets, *links, *spaces, *groups, *tasks, *files}


def answer(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as told:
            return str(told.read().decode().strip())
    except urllib.error.URLError:
        return ""


def loads_an_image_of_the_machines_engine(cluster: KnarrCluster) -> None:
    """By `knarr load`, twice; a pod runs it that may not pull it."""
    ensure_image()
    for _ in range(2):
        told = cluster.knarr("load", "--data-dir", str(cluster.data_dir), LOADED).stdout
        assert told == f"containerd has docker.io/library/{LOADED}\n"
    cluster.kubectl("run", "loaded", f"--image={LOADED}", "--image-pull-policy=Never", "--labels=app=loaded")
    cluster.wait_for("a pod of the image that was loaded", lambda: cluster.ready_pods("app=loaded"))


def stands_while_it_is_paused(cluster: KnarrCluster, address: str) -> None:
    """The kernel still takes connections to its pods, which nobody answers."""
    place = ("--data-dir", str(cluster.data_dir))
    # Three pods, each with a sandbox.
    assert cluster.knarr("pause", *place).stdout == "frozen: the cluster's process, etcd, 6 containers\n"
    with pytest.raises(TimeoutError):
        answer(f"http://{address}/")
    cluster.knarr("resume", *place)
    cluster.wait_for("an answer after the pause", lambda: answer(f"http://{address}/"))
    assert {found["restartCount"] for pod in cluster.pods("app=web") for found in pod["status"]["containerStatuses"]} == {0}


def test_a_cluster_comes_works_and_goes_without_a_trace(engine: Containerd, tmp_path: Path) -> None:
    before = left(engine)
    cluster = KnarrCluster(tmp_path / "k", runtime="containerd", endpoint=engine.endpoint)
    try:
        cluster.up()
        cluster.apply(WEB)
        cluster.kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
        pods = cluster.wait_for("two pods that are ready", lambda: two if len(two := cluster.ready_pods("app=web")) == 2 else None)
        names = {pod["metadata"]["name"] for pod in pods}
        name = min(names)
        assert pods[0]["status"]["containerStatuses"][0]["containerID"].startswith("containerd://")
        assert cluster.kubectl("exec", name, "--", "cat", "/tmp/index.html").stdout.strip() == name
        assert cluster.kubectl("logs", name).stdout.startswith("ready\n")
        address = cluster.get("service", "web")["spec"]["clusterIP"]
        for other in names:
            cluster.wait_for(f"an answer of {other}", partial(lambda other: answer(f"http://{address}/") == other, other))
        assert said("iptables", "-S", "CNI-FORWARD"), "pods are let through by the plugins"
        loads_an_image_of_the_machines_engine(cluster)
        stands_while_it_is_paused(cluster, address)
        cluster_id = (cluster.data_dir / "cluster-id").read_text()
        assert any(found.startswith("/sys/fs/cgroup") for found in left(engine, cluster_id) - before)
    finally:
        cluster.down()
    assert left(engine, cluster_id) - before == set()
