"""Nodes beside a machine's own that run containers: names, addresses, what each is told, and messages to whom begins them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.machinery.errors import not_found
from knarr.machinery.times import to_micro_time
from services.proxy.podnetwork.plan import OFF, ROUTES
from services.standalone.cluster import node_heard
from services.standalone.datapath import datapath_settings, fellow_datapath_settings
from services.standalone.fellows.order import Ended, Start, Stop, read, written
from services.standalone.fellows.plan import (
    fellow_name,
    fellow_number,
    fellows,
    may_have_fellows,
    most_fellows,
    name_of,
    node_names,
    number_of,
    running_fellows,
)
from services.standalone.hollow import with_nodes
from services.standalone.node_settings import fellow_kubelet_settings
from services.standalone.preflight import problems, route_problems
from services.standalone.settings import ClusterSettings, Ports

FREE_PORTS = Ports(**{field.name: 0 for field in dataclasses.fields(Ports)})
OWN_ADDRESS = "192.0.2.2"


@pytest.fixture
def settings(tmp_path: Path) -> ClusterSettings:
    (tmp_path / "cluster-id").write_text("0badcafe")
    return ClusterSettings(data_dir=tmp_path, node_name="my", nodes=3, ports=FREE_PORTS)


def test_each_has_a_name_an_address_and_a_range(settings: ClusterSettings) -> None:
    found = [(one.number, one.name, one.address, one.pod_range) for one in fellows(settings)]
    assert found == [(1, "my-2", "10.97.1.2", "10.244.1.0/24"), (2, "my-3", "10.97.1.3", "10.244.2.0/24")]
    assert [one.name for one in fellows(with_nodes(settings, [2]))] == ["my-3"], "a name stays whose it is"
    assert [fellow_number(settings, name) for name in ("my-2", "my-3", "my", "my-1", "my-02", "other-2")] == [1, 2, 0, 0, 0, 0]
    assert most_fellows(settings) == 253


def test_those_of_a_simulated_cluster_are_called_otherwise(settings: ClusterSettings) -> None:
    hollow = dataclasses.replace(settings, runtime="hollow")
    assert fellows(hollow) == [] and not may_have_fellows(hollow)
    assert (name_of(hollow, 1), number_of(hollow, "node-1.hollow.internal")) == ("node-1.hollow.internal", 1)
    assert (name_of(settings, 1), number_of(settings, "my-2")) == ("my-2", 1)


def test_one_that_is_switched_off_is_still_a_node(settings: ClusterSettings) -> None:
    off = dataclasses.replace(settings, stopped_nodes="2")
    assert [one.number for one in fellows(off)] == [1, 2] and [one.number for one in running_fellows(off)] == [1]
    assert with_nodes(off, [1]).stopped_nodes == "", "one that goes, and comes again, is on"


def test_what_is_left_of_one_that_is_gone_is_known(settings: ClusterSettings) -> None:
    (settings.files.kubelet / "nodes/my-7").mkdir(parents=True)
    assert node_names(settings) == ["my", "my-2", "my-3", "my-7"]


def test_the_proxies_lead_to_one_another_by_routes(settings: ClusterSettings) -> None:
    assert datapath_settings(dataclasses.replace(settings, nodes=1)).pod_network == OFF
    own, (first, _) = datapath_settings(settings), fellows(settings)
    assert (own.node_name, own.pod_network, own.next_hops) == ("my", ROUTES, (("10.97.1.0/24", ""),))
    other = fellow_datapath_settings(settings, first, OWN_ADDRESS)
    assert (other.node_name, other.pod_network, other.next_hops) == ("my-2", ROUTES, ((f"{OWN_ADDRESS}/32", "10.97.1.1"),))


def test_a_kubelet_is_in_the_network_of_a_container(settings: ClusterSettings) -> None:
    chosen = dataclasses.replace(settings, kubelet_options="--pod-manifest-path=/etc/pods --max-pods=7", node_cpu="500m", node_memory="1Gi")
    (first, _) = fellows(chosen)
    told = fellow_kubelet_settings(chosen, first, OWN_ADDRESS, "c0ffee")
    assert (told.node_name, told.node_ip, told.pod_cidr, told.network_of) == ("my-2", "10.97.1.2", "10.244.1.0/24", "c0ffee")
    assert told.data_dir == settings.files.kubelet / "nodes/my-2/kubelet"
    assert told.size == {"cpu": 500, "memory": 1 << 30}
    assert told.max_pods == 7 and told.manifest_path is None, "pods that a machine runs by itself it runs once"
    assert told.labels["knarr.dev/shares-machine-of"] == "my"


@pytest.mark.parametrize("message", [Stop(3), Ended(2, -9)])
def test_messages_are_read_as_they_were_written(message: Stop | Ended) -> None:
    assert read(written(message)) == message


def test_an_order_has_all_that_was_chosen(settings: ClusterSettings) -> None:
    order = read(written(Start(1, OWN_ADDRESS, "c0ffee", 7, str(settings.data_dir), settings.as_dict())))
    assert isinstance(order, Start) and order.cluster == settings


async def test_a_node_is_heard_of_once_it_gave_a_sign_of_life_since() -> None:
    """What its Node says is that of before it was killed."""
    start = datetime(2030, 1, 1, tzinfo=UTC)

    class Answering:
        def __init__(self, renewed: datetime | None) -> None:
            self.renewed = renewed

        async def get(self, kind: type[object], name: str, namespace: str) -> coordination.Lease:
            if self.renewed is None:
                raise not_found("leases", name)
            assert (name, namespace) == ("my-2", "kube-node-lease")
            return coordination.Lease(spec=coordination.LeaseSpec(renew_time=to_micro_time(self.renewed)))

    second = timedelta(seconds=1)
    heard = [await node_heard(Answering(renewed), "my-2", start) for renewed in (None, start - second, start, start + second)]
    assert heard == [False, False, True, True]


def test_more_than_there_are_addresses_for_are_refused(settings: ClusterSettings) -> None:
    crowded = dataclasses.replace(settings, nodes=7, node_cidr="10.97.1.0/29")
    assert any(problem.startswith("--node-cidr 10.97.1.0/29 has addresses for 5 nodes beside") for problem in problems(crowded))
    fits = dataclasses.replace(crowded, nodes=6)
    assert not any("--node-cidr" in problem for problem in problems(fits))


def test_their_addresses_meet_no_others(settings: ClusterSettings) -> None:
    meets = dataclasses.replace(settings, node_cidr="10.97.0.0/24")
    words = "--load-balancer-pool 10.97.0.0/24 overlaps --node-cidr 10.97.0.0/24; choose ranges that do not meet"
    assert words in list(problems(meets))
    assert words not in list(problems(dataclasses.replace(meets, nodes=1))), "nobody has them"
    taken = {"dst": "10.97.1.0/25", "dev": "eth9"}
    assert any(words.startswith("--node-cidr 10.97.1.0/24 is in use") for words in route_problems(settings, [taken], "kn-0badcafe"))
    own = {"dst": "10.97.1.0/24", "dev": "kn-0badcafe-n"}
    assert not list(route_problems(settings, [own], "kn-0badcafe", "kn-0badcafe-n"))


def test_a_name_is_no_other_nodes(settings: ClusterSettings) -> None:
    assert fellow_number(dataclasses.replace(settings, node_name="a.b"), "aXb-2") == 0
    assert fellow_name(settings, 9) == "my-10"
