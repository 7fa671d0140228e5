"""The userspace datapath in a real cluster: the same Services, without the kernel's rules."""

from __future__ import annotations

import collections
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import ensure_image, leftovers
from tests.support.knarr_cluster import KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

APP = "app=web"


@pytest.fixture(scope="module")
def userspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    ensure_image()
    made = KnarrCluster(Path(tmp_path_factory.mktemp("u")), datapath="userspace")
    made.up()
    try:
        made.kubectl("create", "deployment", "web", "--image=hello:1", "--replicas=3")
        made.kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080", "--type=NodePort")
        made.wait_for("three ready pods", lambda: len(made.ready_pods(APP)) == 3)
        yield made
    finally:
        made.down()
    assert leftovers((made.data_dir / "cluster-id").read_text(), made.data_dir) == []


def ask(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode().split()[-1])


def urls(cluster: KnarrCluster) -> list[str]:
    service = cluster.get("service", "web")["spec"]
    return [f"http://{service['clusterIP']}/", f"http://127.0.0.1:{service['ports'][0]['nodePort']}/"]


def serves_all(cluster: KnarrCluster) -> bool:
    try:
        return all(len({ask(url) for _ in range(6)}) == 3 for url in urls(cluster))
    except OSError:
        return False


def test_nine_requests_reach_three_pods_in_turn(userspace: KnarrCluster) -> None:
    userspace.wait_for("both addresses to reach all pods", lambda: serves_all(userspace))
    for url in urls(userspace):
        answers = [ask(url) for _ in range(9)]
        assert sorted(collections.Counter(answers).values()) == [3, 3, 3]
        assert answers[:3] == answers[3:6] == answers[6:]


def test_a_pod_reaches_the_service(userspace: KnarrCluster) -> None:
    userspace.wait_for("both addresses to reach all pods", lambda: serves_all(userspace))
    script = f"for i in 1 2 3 4 5 6; do wget -q -O - {urls(userspace)[0]}; done"
    output = userspace.kubectl("exec", "deployment/web", "--", "sh", "-c", script).stdout
    assert sorted(collections.Counter(line.split()[-1] for line in output.splitlines()).values()) == [2, 2, 2]


def test_a_killed_cluster_serves_again(userspace: KnarrCluster) -> None:
    os.kill(userspace.pid, signal.SIGKILL)
    userspace.up()
    userspace.wait_for("both addresses to reach all pods", lambda: serves_all(userspace))
