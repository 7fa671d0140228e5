"""Images that nodes pull: what a pod says without a registry, and what `make registry` starts."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.cluster_client import ROOT, run
from tests.support.compose import PROJECT, ComposeCluster
from tests.support.engine import IMAGE, docker
from tests.support.ports import free_port

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

UPSTREAM = f"{PROJECT}-upstream"
BUILD_SECONDS = 300.0


def pod(name: str, image: str) -> dict[str, object]:
    spec = {"containers": [{"name": "web", "image": image, "imagePullPolicy": "Always"}], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def waiting(cluster: ComposeCluster, name: str) -> dict[str, str]:
    statuses = cluster.get("pod", name)["status"].get("containerStatuses", [{}])
    return dict(statuses[0].get("state", {}).get("waiting", {}))


def test_a_pod_without_its_image_says_what_to_do(cluster: ComposeCluster) -> None:
    cluster.apply(pod("imageless", "nowhere:1"))
    cluster.wait_for("the failed pull", lambda: waiting(cluster, "imageless").get("reason") in ("ErrImagePull", "ImagePullBackOff"))
    assert (
        "on the host, `knarr load nowhere:1` copies the image from its engine, `make registry`" in waiting(cluster, "imageless")["message"]
    )
    cluster.kubectl("delete", "pod", "imageless")


def start_registry(cluster: ComposeCluster, port: int, upstream: str) -> None:
    """As scripts/registry.sh does, without a word in the checkout's .env."""
    cluster.environment |= {"KNARR_REGISTRY_PORT": str(port), "KNARR_REGISTRY_UPSTREAM": upstream}
    cluster.compose("--profile", "registry", "up", "--detach", "--wait", "registry")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def push(image: str) -> None:
    docker("tag", IMAGE, image)
    try:
        docker("push", "--quiet", image)
    finally:
        docker("rmi", image)


@pytest.fixture
def registry(cluster: ComposeCluster) -> Iterator[int]:
    """The port on loopback of a registry to push to."""
    command = [str(ROOT / "scripts/images.sh")]
    done = subprocess.run(["env", "KNARR_TARGETS=registry", *command], capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    port = free_port()
    start_registry(cluster, port, "")
    yield port
    cluster.compose("--profile", "registry", "rm", "--stop", "--force", "registry")


@pytest.fixture
def upstream(cluster: ComposeCluster, registry: int) -> Iterator[int]:
    """The port on loopback of another registry, which the cluster knows as `upstream`."""
    port = free_port()
    image = run(["docker", "inspect", "--format", "{{.Config.Image}}", f"{PROJECT}-registry-1"]).stdout.strip()
    published = f"127.0.0.1:{port}:5000"
    docker("run", "-d", "--name", UPSTREAM, "--network", f"{PROJECT}_cluster", "--network-alias", "upstream", "-p", published, image)
    cluster.wait_for("the upstream", lambda: answers(port))
    yield port
    docker("rm", "--force", "--volumes", UPSTREAM)


def test_nodes_pull_what_is_pushed_to_the_registry(cluster: ComposeCluster, registry: int) -> None:
    push(f"localhost:{registry}/own:1")
    # What has no registry in its name is of docker.io, for which the nodes ask the registry first.
    push(f"localhost:{registry}/library/mirrored:1")
    cluster.apply(pod("own", "registry:5000/own:1"))
    cluster.apply(pod("mirrored", "mirrored:1"))
    for name in ("own", "mirrored"):
        cluster.wait_for(f"the pod {name}", partial(cluster.ready_pods, f"app={name}"))
    cluster.kubectl("delete", "pod", "own", "mirrored")


def test_the_registry_fetches_from_its_upstream_what_it_has_not(cluster: ComposeCluster, registry: int, upstream: int) -> None:
    push(f"localhost:{upstream}/library/remote:1")
    start_registry(cluster, registry, "http://upstream:5000")
    cluster.apply(pod("remote", "remote:1"))
    cluster.wait_for("the pod", lambda: cluster.ready_pods("app=remote"))
    cluster.kubectl("delete", "pod", "remote")
    # It has kept a copy: the upstream may go.
    docker("stop", UPSTREAM)
    node = str(cluster.get("nodes")["items"][0]["metadata"]["name"])
    cluster.engine(node, "rmi", "--force", "remote:1")
    cluster.engine(node, "pull", "--quiet", "remote:1")
