"""The ports of a node's bridge are let send frames back where they came from, and cost nothing when asked for again and again."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Iterator

import pytest

from services.proxy.datapath.node_network import NodeNetwork
from tests.proxy.laboratory import Namespace, ip

pytestmark = pytest.mark.net

PORTS = 20


@pytest.fixture
def network() -> Iterator[NodeNetwork]:
    namespace = Namespace()
    with namespace.entered():
        ip("link add pods type bridge", "link add others type bridge")
        ip(*(f"link add p{number} type veth peer name q{number}" for number in range(PORTS)))
        ip(*(f"link set p{number} master pods" for number in range(PORTS)), "link set q0 master others")
        made = NodeNetwork(["10.96.0.0/16"])
        yield made
        made.close()
    namespace.close()


def modes(network: NodeNetwork, bridge: str) -> list[bool]:
    return [allowed for _, allowed in network.kernel.ports(socket.if_nametoindex(bridge))]


def test_every_port_of_that_bridge_and_no_other(network: NodeNetwork) -> None:
    assert modes(network, "pods") == [False] * PORTS
    network.allow_hairpin("pods")
    assert (modes(network, "pods"), modes(network, "others")) == ([True] * PORTS, [False])


def test_a_bridge_that_is_not_there_yet_has_none(network: NodeNetwork) -> None:
    network.allow_hairpin("nonesuch")


def test_asking_again_leaves_nothing_in_memory(network: NodeNetwork) -> None:
    """An object for each attribute of each interface once made up a third of what a pod costs."""
    network.allow_hairpin("pods")
    tracemalloc.start()
    network.allow_hairpin("pods")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Room for what is received at once.
    assert peak_bytes < 512 * 1024
