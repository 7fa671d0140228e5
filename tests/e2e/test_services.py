"""Services as a user of one machine has them: every kind, through the real datapath, names and pods."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.engine import docker
from tests.support.knarr_cluster import KnarrCluster
from tests.support.lookup_image import IMAGE, ensure_lookup_image

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

SPACE = "services"
PODS = {"one", "two"}
# Two servers in each pod: what the user meets, and what the operator does. Stops only when it is told to go at once.
SERVE = """trap '' TERM; mkdir /tmp/a /tmp/b; hostname >/tmp/a/index.html; echo "admin of $(hostname)" >/tmp/b/index.html
httpd -p 8080 -h /tmp/a; httpd -p 9090 -h /tmp/b; while :; do sleep 1; done"""
ECHO = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("0.0.0.0", 5353))
print("serving", flush=True)
while True:
    data, sender = server.recvfrom(1500)
    server.sendto(b"echo " + data, sender)
"""


def pod(name: str, app: str = "web", grace_seconds: int = 1) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}]
    container = {"name": "web", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", SERVE], "ports": ports}
    spec = {"hostname": name, "subdomain": "peers", "containers": [container], "terminationGracePeriodSeconds": grace_seconds}
    metadata = {"name": name, "namespace": SPACE, "labels": {"app": app}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def service(name: str, *, selector: str = "web", ports: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {"ports": ports or [{"port": 80, "targetPort": "http"}], **spec}
    if selector:
        wanted["selector"] = {"app": selector}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": SPACE}, "spec": wanted}


@pytest.fixture(scope="module")
def web(cluster: KnarrCluster) -> Iterator[KnarrCluster]:
    """Two ready pods in a namespace of their own, which goes with all that the tests put there."""
    ensure_lookup_image()
    cluster.kubectl("create", "namespace", SPACE)
    try:
        cluster.apply({"apiVersion": "v1", "kind": "List", "items": [pod(name) for name in sorted(PODS)]})
        cluster.wait_for("the pods", lambda: len(cluster.ready_pods("app=web", SPACE)) == len(PODS))
        yield cluster
    finally:
        cluster.kubectl("delete", "namespace", SPACE, "--timeout=60s")


def spec_of(web: KnarrCluster, name: str) -> Any:
    return web.get("service", name, "-n", SPACE)["spec"]


def asked(address: str, port: int = 80) -> str:
    """The last word of the answer: who it was. OSError when nobody answers."""
    with socket.create_connection((address, port), timeout=3) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode().split()[-1]


def answers(address: str, port: int = 80) -> str:
    try:
        return asked(address, port)
    except OSError:
        return ""


def inside(web: KnarrCluster, url: str, seconds: int = 5) -> str:
    """What a pod is answered; empty when it is not."""
    command = ("busybox", "timeout", str(seconds), "wget", "-qO-", url)
    done = web.kubectl("exec", "-n", SPACE, "one", "--", *command, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def wait_answers(web: KnarrCluster, address: str, port: int = 80) -> None:
    web.wait_for(f"an answer of {address}:{port}", lambda: answers(address, port))


@contextmanager
def echoing(web: KnarrCluster, name: str) -> Iterator[None]:
    """A UDP server in the network of a pod, whose image has none."""
    uid = web.get("pod", name, "-n", SPACE)["metadata"]["uid"]
    sandbox = docker("ps", "-q", "--filter", f"name=k8s_POD_{name}_{SPACE}_{uid}").strip()
    process = docker("inspect", "-f", "{{.State.Pid}}", sandbox).strip()
    with subprocess.Popen(["nsenter", "-t", process, "-n", sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdout.readline() == "serving\n"
        try:
            yield
        finally:
            server.terminate()


def echoed(address: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        try:
            client.sendto(b"hello", (address, 53))
            return client.recv(1500)
        except OSError:
            return b""


def test_several_named_ports_and_protocols_lead_to_ports_of_other_numbers(web: KnarrCluster) -> None:
    ports = [
        {"name": "http", "port": 80, "targetPort": "http"},
        {"name": "admin", "port": 81, "targetPort": "admin"},
        {"name": "echo", "port": 53, "targetPort": 5353, "protocol": "UDP"},
    ]
    web.apply(service("ports", ports=ports))
    address = spec_of(web, "ports")["clusterIP"]
    wait_answers(web, address)
    assert {asked(address) for _ in range(4)} == {asked(address, 81) for _ in range(4)} == PODS
    assert inside(web, "http://ports:81/").startswith("admin of ")
    with echoing(web, "one"), echoing(web, "two"):
        assert web.wait_for("an echo", lambda: echoed(address)) == b"echo hello"


def test_a_headless_service_names_its_pods(web: KnarrCluster) -> None:
    web.apply(service("peers", clusterIP="None"))
    web.wait_for(
        "the pods' names", lambda: inside(web, "http://two.peers:8080/") == "two" and inside(web, "http://one.peers:8080/") == "one"
    )
    assert inside(web, f"http://peers.{SPACE}.svc.cluster.local:8080/") in PODS


def test_an_external_name_is_another_name(web: KnarrCluster) -> None:
    web.apply(service("goal"))
    web.apply(service("there", selector="", ports=[{"port": 80}], type="ExternalName", externalName=f"goal.{SPACE}.svc.cluster.local"))
    web.wait_for("the other name", lambda: inside(web, "http://there/") in PODS)
    assert web.kubectl("get", "service", "there", "-n", SPACE, "--no-headers").stdout.split()[3] == f"goal.{SPACE}.svc.cluster.local"


@pytest.mark.parametrize("kind", ["EndpointSlice", "Endpoints"])
def test_a_service_without_a_selector_leads_where_one_says(web: KnarrCluster, kind: str) -> None:
    name = f"own-{kind.lower()}"
    web.apply(service(name, selector="", ports=[{"name": "http", "port": 80, "targetPort": 8080}]))
    address = web.get("pod", "two", "-n", SPACE)["status"]["podIP"]
    metadata: dict[str, Any] = {"name": name, "namespace": SPACE}
    if kind == "Endpoints":
        subset = {"addresses": [{"ip": address}], "ports": [{"name": "http", "port": 8080}]}
        web.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, "subsets": [subset]})
    else:
        metadata["labels"] = {"kubernetes.io/service-name": name}
        said = {"addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": [{"name": "http", "port": 8080}]}
        web.apply({"apiVersion": "discovery.k8s.io/v1", "kind": kind, "metadata": metadata, **said})
    cluster_ip = spec_of(web, name)["clusterIP"]
    wait_answers(web, cluster_ip)
    assert {asked(cluster_ip) for _ in range(4)} == {"two"}
    web.kubectl("delete", kind.lower(), name, "-n", SPACE)
    web.wait_for("nobody to answer", lambda: not answers(cluster_ip))


def test_a_client_stays_with_its_pod_when_asked_to(web: KnarrCluster) -> None:
    web.apply(service("sticky", sessionAffinity="ClientIP"))
    address = spec_of(web, "sticky")["clusterIP"]
    wait_answers(web, address)
    assert len({asked(address) for _ in range(8)}) == 1
    web.kubectl("patch", "service", "sticky", "-n", SPACE, "-p", '{"spec": {"sessionAffinity": "None"}}')
    web.wait_for("turns", lambda: {answers(address) for _ in range(4)} == PODS)


def test_an_external_address_is_served(web: KnarrCluster) -> None:
    # Of the pool's end, which leads nowhere while nobody has it.
    address = f"10.{200 + web.offset}.0.250"
    web.apply(service("outer", externalIPs=[address]))
    wait_answers(web, address)
    assert Counter(asked(address) for _ in range(4)) == {"one": 2, "two": 2}
    assert inside(web, f"http://{address}/") in PODS
    assert web.kubectl("get", "service", "outer", "-n", SPACE, "--no-headers").stdout.split()[3] == address


def test_only_the_source_ranges_reach_a_load_balancer(web: KnarrCluster) -> None:
    web.apply(service("guarded", type="LoadBalancer", loadBalancerSourceRanges=["203.0.113.0/24"]))
    found = web.wait_for(
        "an address", lambda: web.get("service", "guarded", "-n", SPACE)["status"]["loadBalancer"].get("ingress"), seconds=20
    )
    address = found[0]["ip"]
    assert found[0]["ipMode"] == "VIP"
    cluster_ip = spec_of(web, "guarded")["clusterIP"]
    wait_answers(web, cluster_ip)
    assert inside(web, f"http://{address}/", seconds=2) == ""
    pods = f'{{"spec": {{"loadBalancerSourceRanges": ["10.{150 + web.offset}.0.0/16"]}}}}'
    web.kubectl("patch", "service", "guarded", "-n", SPACE, "-p", pods)
    web.wait_for("an answer", lambda: inside(web, f"http://{address}/", seconds=2) in PODS)


def test_local_policies_are_kept_and_the_health_check_tells(web: KnarrCluster) -> None:
    web.apply(service("near", type="LoadBalancer", externalTrafficPolicy="Local", internalTrafficPolicy="Local"))
    spec = spec_of(web, "near")
    wait_answers(web, spec["clusterIP"])
    wait_answers(web, "127.0.0.1", spec["ports"][0]["nodePort"])
    assert web.wait_for("the check", lambda: health(spec["healthCheckNodePort"])) == 200
    web.kubectl("patch", "service", "near", "-n", SPACE, "-p", '{"spec": {"selector": {"app": "nobody"}}}')
    web.wait_for("the check to fail", lambda: health(spec["healthCheckNodePort"]) == 503)
    assert not answers(spec["clusterIP"])


def health(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=3) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_the_last_pod_serves_while_it_terminates(web: KnarrCluster) -> None:
    web.apply(pod("last", "leaving", grace_seconds=60))
    web.apply(service("leaving", selector="leaving"))
    address = spec_of(web, "leaving")["clusterIP"]
    wait_answers(web, address)
    web.kubectl("delete", "pod", "last", "-n", SPACE, "--wait=false")

    def conditions() -> Any:
        pieces = web.get("endpointslices", "-n", SPACE, "-l", "kubernetes.io/service-name=leaving")["items"]
        return [endpoint["conditions"] for piece in pieces for endpoint in piece.get("endpoints") or []]

    web.wait_for("it to be leaving", lambda: conditions() == [{"ready": False, "serving": True, "terminating": True}])
    assert [asked(address) for _ in range(3)] == ["last"] * 3
    web.kubectl("delete", "pod", "last", "-n", SPACE, "--grace-period=0", "--force")
    web.wait_for("nobody to answer", lambda: not answers(address))
