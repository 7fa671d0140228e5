"""Ranges that would hide the machine's name servers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from services.standalone.name_servers import name_server_problems, name_servers
from services.standalone.preflight import range_problems
from services.standalone.settings import ClusterSettings

SERVER = IPv4Address("10.255.255.53")
DEFAULT: dict[str, Any] = {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"}


def test_those_that_are_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# nameserver 192.0.2.9\nnameserver 127.0.0.53\nnameserver  10.0.0.2\nnameserver fe80::1%eth0\nnameserver\nsearch a\n")
    assert name_servers([file, tmp_path / "missing", file]) == [IPv4Address("10.0.0.2")]


@pytest.mark.parametrize(("nodes", "refused"), [(1, False), (256, False), (2000, False), (5000, True)])
def test_a_range_that_grows_over_one_is_refused_with_another(tmp_path: Path, nodes: int, refused: bool) -> None:
    settings = ClusterSettings(data_dir=tmp_path, nodes=nodes, runtime="hollow")
    found = list(name_server_problems(settings, [SERVER], [DEFAULT]))
    if not refused:
        assert not found
        return
    (words,) = found
    assert words.startswith("--cluster-cidr 10.224.0.0/11 (for 5000 nodes) has the address 10.255.255.53 of this machine's name server")
    assert words.endswith("give a new cluster --cluster-cidr 10.128.0.0/11 --pod-cidr 10.128.0.0/24")
    advised = ClusterSettings(data_dir=tmp_path, nodes=nodes, runtime="hollow", cluster_cidr="10.128.0.0/11", pod_cidr="10.128.0.0/24")
    assert not list(name_server_problems(advised, [SERVER], [DEFAULT])) and not list(range_problems(advised))


def test_one_that_has_a_way_of_its_own_is_reached(tmp_path: Path) -> None:
    settings = ClusterSettings(data_dir=tmp_path, nodes=5000, runtime="hollow")
    for covered, there in (("10.255.255.0/24", True), ("10.224.0.0/11", True), ("10.0.0.0/8", False)):
        route = {"dst": covered, "dev": "eth1"}
        assert (not list(name_server_problems(settings, [SERVER], [DEFAULT, route]))) == there, covered
    closed = {"dst": "10.224.0.0/11", "type": "unreachable", "protocol": "75"}
    assert list(name_server_problems(settings, [SERVER], [closed])), "what the cluster itself has closed is no way"


def test_services_are_looked_at_too(tmp_path: Path) -> None:
    server = IPv4Address("10.96.0.2")
    (words,) = name_server_problems(ClusterSettings(data_dir=tmp_path), [server], [DEFAULT])
    assert words.startswith("--service-cidr 10.96.0.0/16 has the address 10.96.0.2")
    advised = IPv4Network(words.rpartition(" ")[2])
    assert server not in advised and not advised.overlaps(IPv4Network("10.244.0.0/16"))
