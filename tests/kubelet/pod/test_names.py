"""What a pod finds in /etc/hosts and /etc/resolv.conf, and how it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.pod.names import NameTooLong, hostname_of, hosts_file
from services.kubelet.pod.resolver import Resolver, node_resolver, parse, resolver_of
from tests.kubelet.support import make_pod

NODE = parse("# a comment\nnameserver 192.0.2.1\nnameserver 192.0.2.2 # the second\nsearch corp.example.\noptions timeout:2 rotate\n")
DNS = "10.96.0.10"
CLUSTER_SEARCH = "search default.svc.cluster.local svc.cluster.local cluster.local corp.example"


def text(pod: core.Pod, node: Resolver = NODE, dns: str = DNS) -> list[str]:
    found, _ = resolver_of(pod, node, dns, "cluster.local")
    return str(found).splitlines()


def config(nameservers: tuple[str, ...] = (), searches: tuple[str, ...] = (), **options: str) -> core.PodDNSConfig:
    made = core.PodDNSConfig(nameservers=nameservers, searches=searches)
    for name, value in options.items():
        made.options.add(name=name, value=value)
    return made


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, [CLUSTER_SEARCH, f"nameserver {DNS}", "options ndots:5"]),
        ({"dns_policy": "ClusterFirst"}, [CLUSTER_SEARCH, f"nameserver {DNS}", "options ndots:5"]),
        (
            {"dns_policy": "ClusterFirst", "host_network": True},
            ["search corp.example", "nameserver 192.0.2.1", "nameserver 192.0.2.2", "options timeout:2 rotate"],
        ),
        ({"dns_policy": "ClusterFirstWithHostNet", "host_network": True}, [CLUSTER_SEARCH, f"nameserver {DNS}", "options ndots:5"]),
        (
            {"dns_policy": "Default"},
            ["search corp.example", "nameserver 192.0.2.1", "nameserver 192.0.2.2", "options timeout:2 rotate"],
        ),
        (
            {"dns_policy": "None", "dns_config": config(("192.0.2.9",), ("a.example",), ndots="2", edns0="")},
            ["search a.example", "nameserver 192.0.2.9", "options ndots:2 edns0"],
        ),
        (
            {"dns_config": config((DNS, "192.0.2.9"), ("cluster.local", "b.example"), ndots="2")},
            [f"{CLUSTER_SEARCH} b.example", f"nameserver {DNS}", "nameserver 192.0.2.9", "options ndots:2"],
        ),
    ],
)
def test_each_policy(spec: dict[str, Any], expected: list[str]) -> None:
    assert text(make_pod(**spec)) == expected


def test_without_a_cluster_dns_pods_have_the_nodes_servers() -> None:
    assert "nameserver 192.0.2.1" in text(make_pod(), dns="")


def test_a_server_on_the_nodes_loopback_is_replaced_by_the_clusters() -> None:
    docker = parse("nameserver 127.0.0.11\noptions ndots:0\n")
    assert text(make_pod(dns_policy="Default"), docker) == [f"nameserver {DNS}", "options ndots:0"]
    assert "nameserver 127.0.0.11" in text(make_pod(dns_policy="Default", host_network=True), docker)
    assert "nameserver 127.0.0.11" in text(make_pod(dns_policy="Default"), docker, dns="")


def test_the_servers_behind_systemd_resolved_are_taken(tmp_path: Path) -> None:
    stub, behind = tmp_path / "stub", tmp_path / "behind"
    stub.write_text("nameserver 127.0.0.53\nsearch corp.example\n")
    assert node_resolver(stub, behind).servers == ("127.0.0.53",)
    behind.write_text("nameserver 192.0.2.1\n")
    assert node_resolver(stub, behind).servers == ("192.0.2.1",)
    assert node_resolver(tmp_path / "missing") == Resolver()


def test_limits_cut_and_say_so() -> None:
    searches = tuple(f"zone-{number}.example" for number in range(40))
    pod = make_pod(dns_config=config(("192.0.2.7", "192.0.2.8", "192.0.2.9"), searches))
    found, words = resolver_of(pod, NODE, DNS, "cluster.local")
    assert found.servers == (DNS, "192.0.2.7", "192.0.2.8")
    assert len(found.searches) == 32
    assert words[0].startswith("Nameserver limits were exceeded") and words[0].endswith(f"{DNS} 192.0.2.7 192.0.2.8")
    assert words[1].startswith("Search Line limits were exceeded")
    long = make_pod(dns_config=config((), tuple(f"{'x' * 60}.{'y' * 60}.{'z' * 60}.{number}.example" for number in range(20))))
    found, words = resolver_of(long, NODE, DNS, "cluster.local")
    assert len(" ".join(found.searches)) <= 2048 and len(words) == 1


def test_hosts_of_a_pod_with_its_own_network() -> None:
    pod = make_pod("web-0", hostname="db-0", subdomain="db")
    pod.spec.host_aliases.add(ip="192.0.2.5", hostnames=["a.example", "b.example"])
    lines = hosts_file(pod, "10.244.0.5", "cluster.local").splitlines()
    assert lines[0] == "# Kubernetes-managed hosts file."
    assert "10.244.0.5\tdb-0.db.default.svc.cluster.local\tdb-0" in lines
    assert lines[-2:] == ["# Entries added by HostAliases.", "192.0.2.5\ta.example\tb.example"]
    assert "10.244.0.5\tweb" in hosts_file(make_pod("web"), "10.244.0.5", "cluster.local").splitlines()


def test_hosts_of_a_pod_in_the_nodes_network() -> None:
    pod = make_pod(host_network=True)
    pod.spec.host_aliases.add(ip="192.0.2.5", hostnames=["a.example"])
    lines = hosts_file(pod, "192.0.2.1", "cluster.local", "127.0.0.1\tlocalhost\n").splitlines()
    assert lines == [
        "# Kubernetes-managed hosts file (host network).",
        "127.0.0.1\tlocalhost",
        "",
        "# Entries added by HostAliases.",
        "192.0.2.5\ta.example",
    ]


def test_the_host_name() -> None:
    assert hostname_of(make_pod("x" * 62 + "-y"), "cluster.local") == "x" * 62
    full = make_pod("web", hostname="h", subdomain="s", set_hostname_as_fqdn=True)
    assert hostname_of(full, "cluster.local") == "h.s.default.svc.cluster.local"
    assert hostname_of(make_pod("web", set_hostname_as_fqdn=True), "cluster.local") == "web"
    with pytest.raises(NameTooLong, match="is too long"):
        hostname_of(make_pod("w" * 60, subdomain="s", set_hostname_as_fqdn=True), "cluster.local")


def test_a_host_name_of_its_own_goes_before_all_others() -> None:
    pod = make_pod(hostname="other", subdomain="sub", hostname_override="db.corp.example")
    assert hostname_of(pod, "cluster.local") == "db.corp.example"
    assert "10.244.0.5\tdb.corp.example\n" in hosts_file(pod, "10.244.0.5", "cluster.local")
