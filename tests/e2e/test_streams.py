"""Streams through a whole cluster: attach, port-forward and the proxy, by kubectl."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.knarr_cluster import BIN, KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

# Serves the same word on its address, and another one on its loopback only.
POD = """
apiVersion: v1
kind: Pod
metadata: {name: talker, labels: {app: talker}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: hello:1
    imagePullPolicy: IfNotPresent
    stdin: true
    ports: [{name: http, containerPort: 8080}]
    command: [sh, -c, "mkdir -p /tmp/a /tmp/b; echo outside > /tmp/a/word; echo inside > /tmp/b/word; httpd -p 8080 -h /tmp/a;
      httpd -p 127.0.0.1:8081 -h /tmp/b; while read word; do echo heard $word; done; sleep 3600"]
---
apiVersion: v1
kind: Service
metadata: {name: talker}
spec:
  selector: {app: talker}
  ports: [{name: web, port: 80, targetPort: http}]
"""


@pytest.fixture(scope="module")
def talker(cluster: KnarrCluster) -> Iterator[KnarrCluster]:
    cluster.apply(POD)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=60s")
    cluster.wait_for("an endpoint", lambda: cluster.get("endpoints", "talker").get("subsets"))
    yield cluster
    cluster.kubectl("delete", "pod/talker", "service/talker", "--wait=true")


@pytest.mark.parametrize("websockets", ["true", "false"])
def test_attach(talker: KnarrCluster, websockets: str) -> None:
    environment = {**os.environ, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets}
    command = [str(BIN / "kubectl"), "--kubeconfig", str(talker.data_dir / "kubeconfig"), "attach", "-i", "talker"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"heard hello\n"
        process.kill()


def test_run_attached_and_removed(cluster: KnarrCluster) -> None:
    image = ("--image=hello:1", "--image-pull-policy=IfNotPresent", "--restart=Never")
    done = cluster.kubectl("run", "once", "--rm", "-i", *image, "--command", "--", "cat", stdin="from stdin\n")
    assert "from stdin\n" in done.stdout and 'pod "once" deleted' in done.stdout
    assert cluster.kubectl("get", "pod", "once", check=False).returncode != 0


@pytest.mark.parametrize("websockets", ["true", "false"])
@pytest.mark.parametrize(("target", "port", "word"), [("pod/talker", 8081, b"inside\n"), ("service/talker", 80, b"outside\n")])
def test_port_forward(talker: KnarrCluster, websockets: str, target: str, port: int, word: bytes) -> None:
    environment = {**os.environ, "KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets}
    command = [str(BIN / "kubectl"), "--kubeconfig", str(talker.data_dir / "kubeconfig"), "port-forward", target, f":{port}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        local = process.stdout.readline().decode().partition("127.0.0.1:")[2].split()[0]
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{local}/word", timeout=10) as answer:
                assert answer.read() == word
        process.kill()


@pytest.mark.parametrize(
    "target", ["pods/talker", "pods/talker:8080", "pods/http:talker:8080", "services/talker:web", "services/talker:80"]
)
def test_proxy(talker: KnarrCluster, target: str) -> None:
    assert talker.kubectl("get", "--raw", f"/api/v1/namespaces/default/{target}/proxy/word").stdout == "outside\n"


def test_the_proxy_does_not_reach_a_pods_loopback(talker: KnarrCluster) -> None:
    refused = talker.kubectl("get", "--raw", "/api/v1/namespaces/default/pods/talker:8081/proxy/word", check=False)
    assert "connection refused" in refused.stderr
