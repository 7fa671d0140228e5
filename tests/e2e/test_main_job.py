"""The main job: an app runs from a manifest, heals, scales and is load-balanced."""

from __future__ import annotations

import collections
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.engine import docker
from tests.support.knarr_cluster import ROOT, KnarrCluster, container_id

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

APP = "app=hello"
# Without the example's fixed NodePort, which another cluster on this machine may have.
MANIFEST = (ROOT / "examples/hello.yaml").read_text().replace("      nodePort: 30080\n", "")


@pytest.fixture(scope="module")
def hello(cluster: KnarrCluster) -> Iterator[KnarrCluster]:
    """The example of the README, running."""
    cluster.apply(MANIFEST)
    cluster.wait_for("three ready pods", lambda: len(cluster.ready_pods(APP)) == 3)
    yield cluster
    cluster.kubectl("delete", "-f", str(ROOT / "examples/hello.yaml"), "--wait=true")


def ask(url: str | urllib.request.Request) -> str:
    """One request on a connection of its own; the name of the pod that took it."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode().split()[-1])


def reaches(url: str, names: set[str]) -> bool:
    try:
        return {ask(url) for _ in range(2 * len(names))} == names
    except (urllib.error.URLError, OSError):
        return False


def names_of(pods: list[dict[str, Any]]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}


@pytest.mark.parametrize("face", ["cluster-ip", "node-port"])
def test_nine_requests_reach_three_pods_in_turn(hello: KnarrCluster, face: str) -> None:
    service = hello.get("service", "hello")["spec"]
    url = f"http://{service['clusterIP']}/" if face == "cluster-ip" else f"http://127.0.0.1:{service['ports'][0]['nodePort']}/"
    names = names_of(hello.ready_pods(APP))
    hello.wait_for("the Service to reach all pods", lambda: reaches(url, names))
    answers = [ask(url) for _ in range(9)]
    assert sorted(collections.Counter(answers).values()) == [3, 3, 3]
    assert answers[:3] == answers[3:6] == answers[6:]


def test_a_pod_reaches_the_service_by_its_address(hello: KnarrCluster) -> None:
    address = hello.get("service", "hello")["spec"]["clusterIP"]
    names = names_of(hello.ready_pods(APP))
    script = f"for i in 1 2 3 4 5 6; do wget -q -O - http://{address}/; done"
    output = hello.kubectl("exec", "deployment/hello", "--", "sh", "-c", script).stdout
    counts = collections.Counter(line.split()[-1] for line in output.splitlines())
    assert set(counts) == names
    assert set(counts.values()) == {2}


def test_a_browser_reaches_it_by_its_name_through_a_rolling_update(hello: KnarrCluster) -> None:
    """From outside, by the Ingress of the example; no request fails while every pod is replaced."""

    def by_name() -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{hello.ports['gateway-http']}/", headers={"Host": "hello.localhost"})
        try:
            return ask(request)
        except (urllib.error.URLError, OSError):
            return ""

    hello.kubectl("apply", "-f", str(ROOT / "examples/ingress.yaml"))
    before = names_of(hello.ready_pods(APP))
    hello.wait_for("all pods to answer by name", lambda: {by_name() for _ in range(6)} == before)
    answers = [by_name() for _ in range(9)]
    assert sorted(collections.Counter(answers).values()) == [3, 3, 3]
    status = hello.get("ingress", "hello")["status"]["loadBalancer"]["ingress"]
    assert status == [{"ip": hello.get("nodes")["items"][0]["status"]["addresses"][0]["address"]}]
    hello.kubectl("rollout", "restart", "deployment/hello")
    seen: set[str] = set()

    def replaced() -> bool:
        seen.update(by_name() for _ in range(20))
        now = names_of(hello.ready_pods(APP))
        return not now & before and len(now) == 3 and now <= seen

    hello.wait_for("all pods to be replaced", replaced)
    assert "" not in seen, "a request failed meanwhile"
    hello.kubectl("delete", "-f", str(ROOT / "examples/ingress.yaml"))


def test_a_killed_container_is_replaced(hello: KnarrCluster) -> None:
    victim = hello.ready_pods(APP)[0]
    name, killed = victim["metadata"]["name"], container_id(victim)
    before = victim["status"]["containerStatuses"][0]["restartCount"]
    docker("kill", killed)

    def replaced() -> bool:
        status = hello.get("pod", name)["status"]["containerStatuses"][0]
        return bool(status["restartCount"] == before + 1 and status["ready"] and killed not in status["containerID"])

    hello.wait_for("the container to be replaced", replaced)
    assert hello.get("pod", name)["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137


def test_a_deleted_pod_is_replaced(hello: KnarrCluster) -> None:
    before = names_of(hello.ready_pods(APP))
    victim = sorted(before)[0]
    hello.kubectl("delete", "pod", victim)
    hello.wait_for(
        "three ready pods without the deleted one", lambda: len(now := names_of(hello.ready_pods(APP))) == 3 and victim not in now
    )


def test_scaling_up_and_down_is_followed_by_the_service(hello: KnarrCluster) -> None:
    address = hello.get("service", "hello")["spec"]["clusterIP"]
    for replicas in (5, 3):
        hello.kubectl("scale", "deployment/hello", f"--replicas={replicas}")
        hello.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
        hello.wait_for(f"{replicas} pods", lambda: len(hello.pods(APP)) == replicas)  # noqa: B023
        names = names_of(hello.wait_for("all ready", lambda: ready if len(ready := hello.ready_pods(APP)) == replicas else None))  # noqa: B023
        hello.wait_for("the Service to follow", partial(reaches, f"http://{address}/", names))


def test_logs_of_a_pod_and_of_a_deployment(cluster: KnarrCluster) -> None:
    cluster.kubectl(
        "run", "talker", "--image=hello:1", "--restart=Never", "--command", "--", "sh", "-c", "echo one; echo two >&2; echo three"
    )
    cluster.wait_for("the pod to finish", lambda: cluster.get("pod", "talker")["status"]["phase"] == "Succeeded")
    assert sorted(cluster.kubectl("logs", "talker").stdout.split()) == ["one", "three", "two"]
    assert cluster.kubectl("logs", "talker", "--tail=1").stdout.count("\n") == 1
    assert cluster.kubectl("logs", "-f", "talker").stdout.count("\n") == 3
    cluster.kubectl("delete", "pod", "talker", "--wait=false")


def test_exec_passes_input_output_and_exit_code(hello: KnarrCluster) -> None:
    assert hello.kubectl("exec", "-i", "deployment/hello", "--", "cat", stdin="through the wire").stdout == "through the wire"
    failed = hello.kubectl("exec", "deployment/hello", "--", "sh", "-c", "echo bad >&2; exit 3", check=False)
    assert failed.returncode == 3
    assert "bad" in failed.stderr


def test_a_rollout_and_its_undo(hello: KnarrCluster) -> None:
    hello.kubectl("set", "env", "deployment/hello", "COLOUR=blue")
    hello.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    assert hello.kubectl("exec", "deployment/hello", "--", "sh", "-c", "echo $COLOUR").stdout.strip() == "blue"
    hello.kubectl("rollout", "undo", "deployment/hello")
    hello.kubectl("rollout", "status", "deployment/hello", "--timeout=60s")
    hello.wait_for("the old pods to be gone", lambda: len(hello.get("pods", "-l", APP)["items"]) == 3)
    assert hello.kubectl("exec", "deployment/hello", "--", "sh", "-c", "echo [$COLOUR]").stdout.strip() == "[]"
    assert len(hello.kubectl("rollout", "history", "deployment/hello").stdout.strip().splitlines()) >= 3


def test_describe_shows_events_and_conditions(hello: KnarrCluster) -> None:
    name = hello.ready_pods(APP)[0]["metadata"]["name"]
    text = hello.kubectl("describe", "pod", name).stdout
    for word in ("Scheduled", "Pulled", "Created", "Started", "PodScheduled", "ContainersReady", "QoS Class"):
        assert word in text, text
    assert "ScalingReplicaSet" in hello.kubectl("describe", "deployment", "hello").stdout
    assert "Allocatable" in hello.kubectl("describe", "node", hello.node).stdout


def test_deleting_the_deployment_deletes_its_pods(cluster: KnarrCluster) -> None:
    cluster.kubectl("create", "deployment", "gone", "--image=hello:1", "--replicas=2")
    cluster.wait_for("two pods", lambda: len(cluster.ready_pods("app=gone")) == 2)
    cluster.kubectl("delete", "deployment", "gone")
    cluster.wait_for("no pods and no replica sets", lambda: not cluster.get("pods,replicasets", "-l", "app=gone")["items"])


def test_a_namespace_goes_with_all_it_holds(cluster: KnarrCluster) -> None:
    cluster.kubectl("create", "namespace", "short")
    cluster.kubectl("create", "deployment", "web", "-n", "short", "--image=hello:1")
    cluster.kubectl("create", "configmap", "settings", "-n", "short", "--from-literal=a=b")
    cluster.wait_for("a ready pod", lambda: cluster.ready_pods("app=web", "short"))
    cluster.kubectl("delete", "namespace", "short", "--timeout=60s")
    assert cluster.kubectl("get", "namespace", "short", check=False).returncode == 1
    assert not docker("ps", "-q", "--filter", "name=_short_").split()
