"""Names as pods of a whole cluster see them, and what the cluster says of its DNS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import dns.message
import dns.query
import pytest

from tests.support.knarr_cluster import KnarrCluster
from tests.support.lookup_image import IMAGE, ensure_lookup_image

pytestmark = [pytest.mark.cluster, pytest.mark.docker]

DNS_SERVICE = "knarr.api.dns.v1.DnsService"
NAMESPACE = "names"
IN = ("-n", NAMESPACE)
DOMAIN = f"{NAMESPACE}.svc.cluster.local"


@pytest.fixture(scope="module", autouse=True)
def names(cluster: KnarrCluster) -> Iterator[None]:
    """A namespace of the shared cluster with the pods and Services whose names are looked up."""
    ensure_lookup_image()
    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        for manifest in MANIFESTS:
            cluster.apply(manifest)
        cluster.kubectl("wait", *IN, "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        yield
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE)


def pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "ports": [{"name": "http", "containerPort": 8080}]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "web"}}, "spec": spec}


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def endpoint(name: str, address: str) -> dict[str, Any]:
    """One of a Service without a selector."""
    metadata = {"name": f"{name}-1", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": name}}
    found = {"addresses": [address], "conditions": {"ready": True}}
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4", "endpoints": [found]}


OWN = {"nameservers": ["192.0.2.53"], "searches": ["a.example"], "options": [{"name": "ndots", "value": "2"}]}
MANIFESTS = [
    pod("web-0", hostname="web-0", subdomain="each", hostAliases=[{"ip": "192.0.2.9", "hostnames": ["alias.example"]}]),
    pod("web-1"),
    pod("own", dnsPolicy="None", dnsConfig=OWN),
    pod("long", hostname="h", subdomain="each", setHostnameAsFQDN=True),
    service("hello", selector={"app": "web"}, ports=[{"name": "http", "port": 80, "targetPort": 8080}]),
    service("each", clusterIP="None", selector={"app": "web"}, ports=[{"name": "http", "port": 8080}]),
    service("far", type="ExternalName", externalName=f"hello.{DOMAIN}"),
]  # fmt: skip


def inside(cluster: KnarrCluster, *command: str, name: str = "web-1") -> str:
    return cluster.kubectl("exec", *IN, name, "--", *command).stdout


def addresses(cluster: KnarrCluster, name: str, *environment: str) -> set[str]:
    """What a pod's C library finds; with `RES_OPTIONS=use-vc` over TCP."""
    found = cluster.kubectl("exec", *IN, "web-1", "--", "env", *environment, "getent", "ahostsv4", name, check=False).stdout
    return {line.split()[0] for line in found.splitlines()}


def pod_ips(cluster: KnarrCluster) -> dict[str, str]:
    return {found["metadata"]["name"]: found["status"]["podIP"] for found in cluster.get("pods", *IN)["items"]}


def test_a_service_is_found_by_its_short_name_and_answers(cluster: KnarrCluster) -> None:
    address = cluster.get("service", *IN, "hello")["spec"]["clusterIP"]
    for name in ("hello", f"hello.{NAMESPACE}", f"hello.{DOMAIN}", "far"):
        for options in ((), ("RES_OPTIONS=use-vc",)):
            assert addresses(cluster, name, *options) == {address}, (name, options)
    assert inside(cluster, "wget", "-q", "-O", "-", "http://hello").startswith("hello from ")
    looked = inside(cluster, "nslookup", f"hello.{DOMAIN}")
    assert address in looked and cluster.get("service", "-n", "kube-system", "kube-dns")["spec"]["clusterIP"] in looked


def test_headless_endpoints_are_found_by_service_and_by_hostname(cluster: KnarrCluster) -> None:
    ips = pod_ips(cluster)
    assert cluster.wait_for("four endpoints", lambda: addresses(cluster, "each") == set(ips.values()))
    assert addresses(cluster, "web-0.each") == {ips["web-0"]}
    assert addresses(cluster, f"{ips['web-1'].replace('.', '-')}.each") == {ips["web-1"]}
    ports = inside(cluster, "busybox", "nslookup", "-type=srv", f"_http._tcp.each.{DOMAIN}")
    assert f"8080 web-0.each.{DOMAIN}" in ports
    reverse = inside(cluster, "busybox", "nslookup", ips["web-0"])
    assert f"web-0.each.{DOMAIN}" in reverse


def test_each_pod_has_name_files_of_its_own(cluster: KnarrCluster) -> None:
    address = cluster.get("service", "-n", "kube-system", "kube-dns")["spec"]["clusterIP"]
    first = inside(cluster, "cat", "/etc/resolv.conf").splitlines()
    assert f"nameserver {address}" in first and "options ndots:5" in first
    assert first[0].startswith(f"search {DOMAIN} svc.cluster.local cluster.local")
    own = inside(cluster, "cat", "/etc/resolv.conf", name="own").splitlines()
    assert own == ["search a.example", "nameserver 192.0.2.53", "options ndots:2"]
    hosts = inside(cluster, "cat", "/etc/hosts", name="web-0")
    assert f"{pod_ips(cluster)['web-0']}\tweb-0.each.{DOMAIN}\tweb-0" in hosts and "192.0.2.9\talias.example" in hosts
    assert inside(cluster, "hostname", name="long").strip() == f"h.each.{DOMAIN}"


def test_a_changed_service_is_answered_anew(cluster: KnarrCluster) -> None:
    assert not addresses(cluster, "late")
    cluster.apply(service("late", type="ExternalName", externalName=f"hello.{DOMAIN}"))
    address = cluster.get("service", *IN, "hello")["spec"]["clusterIP"]
    cluster.wait_for("the new name", lambda: addresses(cluster, "late") == {address})
    cluster.kubectl("delete", *IN, "service", "late")
    cluster.wait_for("the name to go", lambda: not addresses(cluster, "late"))


def test_a_changed_endpoint_is_answered_within_a_tenth_of_a_second(cluster: KnarrCluster) -> None:
    """Asked at the server itself, from the moment that the change is accepted. The machine may be busy: one of five counts."""
    cluster.apply(service("moving", clusterIP="None"))
    (server,) = json.loads(cluster.grpcurl("dns", f"{DNS_SERVICE}/GetStatus"))["instances"]
    took = []
    for last in range(1, 6):
        cluster.apply(endpoint("moving", f"192.0.2.{last}"))
        started = time.monotonic()
        asked = dns.message.make_query(f"moving.{DOMAIN}.", "A")
        while not dns.query.udp(asked, server["address"], timeout=5, port=server["port"]).to_text().count(f"A 192.0.2.{last}"):
            assert time.monotonic() - started < 10
        took.append(time.monotonic() - started)
    assert min(took) < 0.1, took


def test_the_dns_says_why(cluster: KnarrCluster) -> None:
    explained = json.loads(cluster.grpcurl("dns", f'-d={{"name": "hello", "namespace": "{NAMESPACE}"}}', f"{DNS_SERVICE}/Explain"))
    assert explained["steps"][-1]["objects"] == [f"Service {NAMESPACE}/hello"]
    status = json.loads(cluster.grpcurl("dns", f"{DNS_SERVICE}/GetStatus"))
    assert status["synced"] and status["api_reachable"] and len(status["instances"]) == 1
