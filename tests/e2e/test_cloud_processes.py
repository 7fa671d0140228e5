"""A cloud of one's own: the API server, two cloud controller managers, a kubelet and a provider, all processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.external import ExampleProvider
from tests.support.components import NODE, Components

pytestmark = [pytest.mark.etcd, pytest.mark.cluster, pytest.mark.timeout(180)]

LEASE = "knarr-cloud-controller-manager"
MANAGERS = ("cloud", "cloud-2")
UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
ZONE = "topology.kubernetes.io/zone"


class CloudComponents(Components):
    """The provider's file and the options that name it."""

    def __init__(self, folder: Path, example: ExampleProvider) -> None:
        super().__init__(folder)
        settings = example.settings
        configuration = f"external:\n  address: {settings.address}\n  caFile: {settings.ca_file}\n  tokenFile: {settings.token_file}\n"
        (folder / "cloud.yaml").write_text(configuration)
        external = "--cloud-provider=external"
        self.more = {"cloud": (external, f"--cloud-config={folder / 'cloud.yaml'}"), "kubelet": (external,)}


@pytest.fixture
def example(tmp_path: Path) -> Iterator[ExampleProvider]:
    folder = tmp_path / "provider"
    folder.mkdir()
    made = ExampleProvider(folder)
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture
def parts(tmp_path: Path, example: ExampleProvider) -> Iterator[CloudComponents]:
    folder = tmp_path / "parts"
    folder.mkdir()
    made = CloudComponents(folder, example)
    try:
        made.etcd.start()
        made.start("apiserver", *MANAGERS, "kubelet")
        yield made
    finally:
        made.stop()


def ingress(parts: Components, name: str = "web") -> list[str]:
    found = parts.kubectl("get", "service", name, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}", check=False)
    return found.stdout.split()


def taints(parts: Components) -> list[str]:
    """Of the node, once it has registered."""
    found = parts.kubectl("get", "node", NODE, "-o", "jsonpath={.metadata.name} {.spec.taints[*].key}", check=False)
    return found.stdout.split()


def leader(parts: Components) -> str:
    """The manager that says that it leads; empty while none does."""
    states = {name: parts.call(name, "knarr.api.cloud.v1.CloudService/GetStatus") for name in parts.processes if name in MANAGERS}
    return next((name for name, state in states.items() if state and state.get("leader")), "")


def test_machines_and_addresses_come_from_a_provider_and_outlive_a_manager(parts: CloudComponents, example: ExampleProvider) -> None:
    parts.wait_for("the node to wait", lambda: UNINITIALIZED in taints(parts))
    example.set_cloud(machines={NODE: {"zone": "cellar", "type": "big", "addresses": ["203.0.113.99"]}})
    example.start()
    parts.wait_for("a node that is known", lambda: (found := taints(parts)) and UNINITIALIZED not in found)
    node = parts.get("node", NODE)
    assert node["metadata"]["labels"][ZONE] == "cellar" and node["spec"]["providerID"] == f"example://{NODE}"
    assert "203.0.113.99" in parts.kubectl("get", "nodes", "-o", "wide").stdout
    parts.kubectl("create", "service", "loadbalancer", "web", "--tcp=80:80")
    parts.wait_for("an address", lambda: ingress(parts) == ["203.0.113.1"])
    assert [made["nodes"] for made in example.cloud["balancers"].values()] == [[NODE]]
    first = parts.wait_for("a leader", lambda: leader(parts))
    assert all(parts.healthy(name) for name in MANAGERS), "one works, one stands by"
    parts.kill(first)
    parts.kubectl("create", "service", "loadbalancer", "api", "--tcp=80:80")
    parts.wait_for("the other one to go on", lambda: ingress(parts, "api") == ["203.0.113.2"])
    assert ingress(parts) == ["203.0.113.1"] and len(example.cloud["balancers"]) == 2
    parts.kubectl("delete", "service", "web", "api", "--timeout=30s")
    assert not example.cloud["balancers"]
