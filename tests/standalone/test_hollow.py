"""Simulated nodes of a cluster on one machine: their ranges of addresses, and what must be given with them."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from knarr.objects.hollow import MOST_NODES, node_number
from knarr.service.errors import CommandError
from services.standalone.hollow import free_numbers, node_names, node_numbers, pod_range_count, pod_ranges, with_nodes, with_room
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


def test_nodes_come_and_go_by_their_numbers() -> None:
    """A name stays whose it is; a new node takes the lowest number that is free."""
    settings = ClusterSettings(nodes=4)
    assert node_numbers(settings) == (1, 2, 3)
    fewer = with_nodes(settings, [2, 3])
    assert (fewer.nodes, fewer.absent_nodes, node_numbers(fewer)) == (3, "1", (2, 3))
    assert free_numbers(fewer, 2) == [1, 4]
    more = with_nodes(fewer, {*node_numbers(fewer), *free_numbers(fewer, 2)})
    assert (more.nodes, more.absent_nodes, node_numbers(more)) == (5, "", (1, 2, 3, 4))
    none = with_nodes(more, [])
    assert (none.nodes, none.absent_nodes, node_numbers(none)) == (1, "", ())


def test_nodes_that_were_chosen_are_read_back(tmp_path: Path) -> None:
    with_nodes(ClusterSettings(data_dir=tmp_path), [2, 5]).save()
    assert node_numbers(ClusterSettings.saved(tmp_path)) == (2, 5)
    text = (tmp_path / "settings.json").read_text()
    (tmp_path / "settings.json").write_text(text.replace('"1,3,4"', '"0,x"'))
    with pytest.raises(CommandError, match="absent_nodes: '0,x' is no list of nodes' numbers like 1,3"):
        ClusterSettings.saved(tmp_path)


def test_a_high_number_needs_as_much_room_as_all_below_it() -> None:
    assert pod_range_count(with_room(with_nodes(ClusterSettings(), [256]))) == 512
    assert pod_range_count(with_room(with_nodes(ClusterSettings(), [255]))) == 256


@pytest.mark.parametrize(
    ("name", "number"),
    [("node-7.hollow.internal", 7), ("node-07.hollow.internal", 0), ("node-0.hollow.internal", 0), ("node-²", 0), ("web", 0)],
)
def test_whose_name_it_is(name: str, number: int) -> None:
    assert node_number(name) == number
