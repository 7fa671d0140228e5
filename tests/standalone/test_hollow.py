"""Simulated nodes of a cluster on one machine: their ranges of addresses, and what must be given with them."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from knarr.objects.hollow import MOST_NODES
from services.standalone.hollow import node_names, pod_ranges, with_room
from services.standalone.preflight import problems
from services.standalone.settings import ClusterSettings, Ports

FREE_PORTS = Ports(**{field.name: 0 for field in dataclasses.fields(Ports)})


@pytest.mark.parametrize("nodes", [1, 2, 256, 257, 1000, 6000, MOST_NODES])
def test_each_node_has_a_range_of_its_own(nodes: int) -> None:
    settings = with_room(ClusterSettings(nodes=nodes))
    whole, of = IPv4Network(settings.cluster_cidr), pod_ranges(settings)
    found = {IPv4Network(of(number)) for number in range(1, nodes)} | {IPv4Network(settings.pod_cidr)}
    assert len(found) == nodes == len(node_names(settings)) + 1
    assert all(network.subnet_of(whole) and network.prefixlen == 24 for network in found)
    for other in (settings.service_cidr, settings.load_balancer_pool):
        assert not whole.overlaps(IPv4Network(other))


def test_a_range_that_has_room_stays_as_it_was_chosen() -> None:
    assert with_room(ClusterSettings(nodes=256)).cluster_cidr == "10.244.0.0/16"
    assert with_room(ClusterSettings(nodes=257)).cluster_cidr == "10.244.0.0/15"


def test_only_what_is_simulated_has_many_nodes(tmp_path: Path) -> None:
    settings = ClusterSettings(data_dir=tmp_path, nodes=3, runtime="docker", datapath="userspace", ports=FREE_PORTS)
    assert any(problem.startswith("--nodes 3 is for simulated nodes; give --runtime hollow") for problem in problems(settings))
    hollow = dataclasses.replace(settings, runtime="hollow")
    assert not any("--nodes" in problem for problem in problems(hollow))


def test_a_range_that_grows_into_another_is_refused(tmp_path: Path) -> None:
    settings = ClusterSettings(
        data_dir=tmp_path, nodes=1000, runtime="hollow", datapath="userspace", ports=FREE_PORTS,
        cluster_cidr="10.98.0.0/16", pod_cidr="10.98.0.0/24",
    )  # fmt: skip
    assert "--service-cidr 10.96.0.0/16 overlaps --cluster-cidr 10.96.0.0/14; choose ranges that do not meet" in list(problems(settings))
