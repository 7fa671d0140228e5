"""UDP through a ClusterIP, on a real pod's network."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.engine import docker
from tests.support.knarr_cluster import KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

PORT = 5454
# Echoes datagrams; run inside the pod's network namespace, since the example's image has no UDP server.
SERVER = f"""
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", {PORT}))
print("serving", flush=True)
while True:
    data, sender = server.recvfrom(1500)
    server.sendto(b"echo " + data, sender)
"""


@pytest.fixture
def echo(cluster: KnarrCluster) -> Iterator[str]:
    """The ClusterIP of a UDP Service whose pod echoes."""
    cluster.kubectl("run", "echo", "--image=hello:1", f"--port={PORT}")
    cluster.kubectl("expose", "pod", "echo", "--port=53", f"--target-port={PORT}", "--protocol=UDP")
    pod = cluster.wait_for("a ready pod", lambda: cluster.ready_pods("run=echo"))[0]
    sandbox = docker("ps", "-q", "--filter", f"name=k8s_POD_echo_default_{pod['metadata']['uid']}").strip()
    pid = docker("inspect", "-f", "{{.State.Pid}}", sandbox).strip()
    command = ["nsenter", "-t", pid, "-n", sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "serving\n"
        try:
            yield str(cluster.get("service", "echo")["spec"]["clusterIP"])
        finally:
            server.terminate()
    cluster.kubectl("delete", "pod,service", "echo", "--wait=false")


def ask(address: str) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        try:
            client.sendto(b"hello", (address, 53))
            return client.recv(1500)
        except OSError:
            return None


def test_a_datagram_and_its_answer_pass_through_the_cluster_ip(cluster: KnarrCluster, echo: str) -> None:
    assert cluster.wait_for("an echo", lambda: ask(echo)) == b"echo hello"
