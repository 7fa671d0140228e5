"""Add-ons of a whole cluster: what is switched off stays off, and a registry serves images until nothing of it is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from services.command.addons.registry.image import REPOSITORY, find_program
from services.command.addons.registry.manifests import NAMESPACE
from tests.support.engine import IMAGE, docker, ensure_image
from tests.support.knarr_cluster import KnarrCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    made = KnarrCluster(tmp_path_factory.mktemp("addons") / "k")
    made.up()
    yield made
    made.down()


def addon(cluster: KnarrCluster, *arguments: str) -> Any:
    return json.loads(cluster.knarr("addon", *arguments, "-o", "json", "--data-dir", str(cluster.data_dir)).stdout)


def states(cluster: KnarrCluster) -> dict[str, str]:
    return {one["name"]: one["state"] for one in addon(cluster, "list")}


def test_what_is_switched_off_stays_off_over_a_start(cluster: KnarrCluster) -> None:
    assert states(cluster) == {"metrics": "on", "registry": "off", "dashboard": "on", "local-path": "on"}
    for name in ("metrics", "local-path"):
        assert addon(cluster, "disable", name)["state"] == "off"
    cluster.down()
    cluster.up()
    assert states(cluster) == {"metrics": "off", "registry": "off", "dashboard": "on", "local-path": "off"}
    assert "Metrics API not available" in cluster.kubectl("top", "nodes", check=False).stderr
    told = cluster.knarr("top", "--data-dir", str(cluster.data_dir), check=False)
    assert told.returncode == 1 and "knarr addon enable metrics" in told.stderr
    assert cluster.get("storageclass")["items"] == []
    refused = cluster.knarr("addon", "enable", "registry", "--data-dir", str(cluster.data_dir), check=False)
    assert refused.returncode == 1 and "knarr addon enable local-path" in refused.stderr
    for name in ("metrics", "local-path"):
        assert addon(cluster, "enable", name)["state"] == "on"
    cluster.wait_for("usage of the node", lambda: cluster.kubectl("top", "nodes", check=False).returncode == 0)
    assert [found["metadata"]["name"] for found in cluster.get("storageclass")["items"]] == ["local-path"]


@pytest.mark.skipif(find_program() is None, reason="no docker-registry; scripts/install.sh --tests fetches it")
def test_a_registry_is_pushed_to_pulled_from_kept_and_gone(cluster: KnarrCluster) -> None:
    ensure_image()
    told = addon(cluster, "enable", "registry")
    assert told["state"] == "on"
    name = f"{told['details']['push']}/team/hello:7"
    (pod,) = cluster.pods("app=registry", NAMESPACE)
    push(name)
    assert addon(cluster, "enable", "registry")["details"] == told["details"]
    assert [found["metadata"]["uid"] for found in cluster.pods("app=registry", NAMESPACE)] == [pod["metadata"]["uid"]], "it was begun anew"
    cluster.down()
    cluster.up()
    # A start is over when the node is ready; what was in pods comes after it.
    cluster.wait_for("the registry after a start", lambda: states(cluster)["registry"] == "on")
    cluster.kubectl("run", "pulled", f"--image={name}", "--image-pull-policy=Always", "--labels=app=pulled")
    cluster.wait_for("a pod of the image that was pushed", lambda: cluster.ready_pods("app=pulled"))
    assert addon(cluster, "disable", "registry")["state"] == "off"
    assert cluster.kubectl("get", "namespace", NAMESPACE, check=False).returncode == 1
    assert cluster.get("persistentvolume")["items"] == []
    assert cluster.kubectl("get", "configmap", "-n", "kube-public", "local-registry-hosting", check=False).returncode == 1
    assert REPOSITORY not in docker("images")
    folder = cluster.data_dir / "kubelet/local-path"
    assert not folder.exists() or list(folder.iterdir()) == []
    docker("rmi", "--force", name)


def push(name: str) -> None:
    """By the machine's own client; the machine forgets the name again."""
    docker("tag", IMAGE, name)
    docker("push", "--quiet", name)
    docker("rmi", name)
