"""A node whose network is that of a container: what the engine is told of pods that are to be in it."""

from __future__ import annotations

from dataclasses import replace

from services.kubelet.pod.sandbox_plan import sandbox_plan
from services.kubelet.runtime.docker.bodies import HOST, NO_NETWORK, container_body, node_network, sandbox_body
from services.kubelet.runtime.docker.settings import DockerSettings
from tests.kubelet.container.test_plans import PLANS, container_plans, load

OWN = DockerSettings(cluster_id="test", node_name="my", pod_cidr="10.244.0.0/24")
FELLOW = replace(OWN, network_of="c0ffee")


def test_a_pod_in_its_nodes_network_joins_the_container_that_has_it() -> None:
    assert (node_network(OWN), node_network(FELLOW)) == (HOST, "container:c0ffee")
    pod, references = load(next(iter(sorted(PLANS.glob("*.input.yaml")))))
    plan = replace(sandbox_plan(pod, 0, "cluster.local"), host_network=True)
    body = sandbox_body(plan, "", "pause", NO_NETWORK, {}, node=node_network(FELLOW))
    assert body["HostConfig"]["NetworkMode"] == "container:c0ffee"
    assert "Hostname" not in body, "the engine refuses one where the network is another's"
    for _, made in container_plans(pod, references):
        assert not isinstance(made, str)
        inside = replace(made, namespaces=replace(made.namespaces, host_network=True))
        modes = [container_body(inside, "image", settings, {})["HostConfig"]["UTSMode"] for settings in (OWN, FELLOW)]
        assert modes == [HOST, ""], "its host name is the node's, and not the machine's"
