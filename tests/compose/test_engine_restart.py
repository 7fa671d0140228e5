"""The whole cluster in an engine of the test's own, which dies with all its containers and comes back: a reboot."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxy.laboratory import Namespace
from tests.support.cluster_client import ClusterClient
from tests.support.compose import NODES, ComposeCluster
from tests.support.engine import IMAGE
from tests.support.own_engine import OwnEngine

pytestmark = [pytest.mark.compose, pytest.mark.net, pytest.mark.timeout(600)]

ROLES = ("component", "proxy", "gateway", "node", "etcd", "balancer")
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 4,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": IMAGE}], "terminationGracePeriodSeconds": 1},
        },
    },
}


class OwnCluster(ComposeCluster):
    """As on a machine whose engine is ``engine``."""

    def __init__(self, folder: Path, engine: OwnEngine) -> None:
        super().__init__(folder)
        self.environment |= {"DOCKER_HOST": engine.url, "KNARR_ENGINE_SOCKET": engine.url.removeprefix("unix://")}

    def states(self) -> dict[str, tuple[bool, str]]:
        """Of each container that is to run whenever the engine does: whether it is healthy, and its address."""
        found = {}
        for container in self.containers("--all"):
            if container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped":
                state = container["State"]
                healthy = state["Running"] and state.get("Health", {}).get("Status", "healthy") == "healthy"
                addresses = sorted(f"{name} {network['IPAddress']}" for name, network in container["NetworkSettings"]["Networks"].items())
                found[container["Name"]] = (healthy, " ".join(addresses))
        return found

    def addresses(self) -> dict[str, str]:
        """Those in the cluster's own network, which are fixed."""
        return {name: address for name, (_, address) in self.states().items() if "_cluster " in address}


@pytest.fixture
def engine() -> Iterator[OwnEngine]:
    """In a network of its own, with the cluster's images."""
    # Its files are in memory: a quarter of a minute is won. A socket's path is short.
    made = OwnEngine(Path(tempfile.mkdtemp(prefix="knarr-engine-", dir="/dev/shm")))
    namespace = Namespace()
    try:
        with namespace.entered():
            try:
                made.start()
                images = [f"knarr/{role}:{os.environ.get('KNARR_TAG', 'dev')}" for role in ROLES]
                with subprocess.Popen(["docker", "save", *images, IMAGE], stdout=subprocess.PIPE) as save:
                    subprocess.run(["docker", "--host", made.url, "load", "--quiet"], stdin=save.stdout, check=True, capture_output=True)
                yield made
            finally:
                made.remove()
    finally:
        namespace.close()


@pytest.mark.usefixtures("images")
def test_a_rebooted_host_has_the_same_cluster_again(engine: OwnEngine, tmp_path: Path) -> None:
    cluster = OwnCluster(tmp_path, engine)
    cluster.up()
    cluster.knarr_load(IMAGE)
    cluster.apply(DEPLOYMENT)
    cluster.wait_for("the pods", lambda: len(cluster.ready_pods("app=web")) == 4)
    pods, nodes = identities(cluster, "pods"), identities(cluster, "nodes")
    addresses = cluster.addresses()
    assert f"{cluster.environment['KNARR_COMPOSE_NAME']}_cluster {NODES['node-1']}" in addresses.values()

    engine.cut_power()
    engine.start()

    cluster.wait_for("all containers", lambda: all(healthy for healthy, _ in cluster.states().values()), seconds=120)
    assert cluster.addresses() == addresses
    cluster.wait_for("both nodes", lambda: cluster.ready_nodes() == set(NODES))
    assert identities(cluster, "nodes") == nodes
    cluster.wait_for("the pods", lambda: len(cluster.ready_pods("app=web")) == 4)
    assert identities(cluster, "pods") == pods
    for pod in cluster.ready_pods("app=web"):
        restarts = pod["status"]["containerStatuses"][0]["restartCount"]
        assert restarts == 1, pod["metadata"]["name"]
    cluster.down()


def identities(cluster: ClusterClient, resource: str) -> set[str]:
    return {found["metadata"]["uid"] for found in cluster.get(resource)["items"]}
