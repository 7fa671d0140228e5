"""A whole cluster without Docker, seen from outside: what is asked for by options, and what is not asked for."""

from __future__ import annotations

import json
import socket
import urllib.parse
from collections.abc import Iterator

import pytest

from tests.support.knarr_cluster import PORT_NAMES, KnarrCluster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(60)]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    """Not started. Its path is short: it holds sockets."""
    made = KnarrCluster(tmp_path_factory.mktemp("k"), runtime="hollow", datapath="userspace")
    try:
        yield made
    finally:
        made.down()


def test_the_system_chooses_ports_and_everybody_knows_them(cluster: KnarrCluster) -> None:
    ranges = [option for option in cluster.options if "-port=" not in option]
    options = ["--runtime", "hollow", "--datapath", "userspace", *ranges, *(f"--{name}-port=0" for name in PORT_NAMES)]
    cluster.knarr("up", "--data-dir", str(cluster.data_dir), *options)
    state = json.loads((cluster.data_dir / "state.json").read_text())
    port = urllib.parse.urlsplit(state["server"]).port
    assert port
    (subset,) = cluster.get("endpoints", "kubernetes")["subsets"]
    assert [found["port"] for found in subset["ports"]] == [port]
    node = cluster.get("node", state["node"])
    assert f":{node['status']['daemonEndpoints']['kubeletEndpoint']['Port']}" in state["components"]["kubelet"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.3", port), timeout=5)
