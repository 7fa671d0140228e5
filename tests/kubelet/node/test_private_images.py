"""An image that a registry gives to one user, on engines that run: who of a node's pods may have it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.runtime.port import Runtime
from tests.kubelet.containerd_support import cri
from tests.kubelet.docker_support import docker
from tests.kubelet.node.registry import registry
from tests.kubelet.node.test_keyring import secret
from tests.kubelet.support import Cluster, make_pod, running

pytestmark = pytest.mark.docker


@asynccontextmanager
async def engine(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Runtime]:
    if kind == "docker":
        async with docker() as (runtime, _, _):
            yield runtime
    else:
        async with cri(request.getfixturevalue("own_containerd")) as (other, _):
            yield other


def asking(name: str, image: str, policy: str, *secrets: str) -> core.Pod:
    pod = make_pod(name, image_pull_secrets=[core.LocalObjectReference(name=one) for one in secrets])
    pod.spec.termination_grace_period_seconds = 0
    spec = pod.spec.containers[0]
    spec.image, spec.image_pull_policy = image, policy
    spec.command.extend(["sleep", "1000"])
    return pod


async def refusal(cluster: Cluster, name: str) -> tuple[str, str]:
    """Why it waits, and what is said of it."""

    def waits() -> tuple[str, str] | None:
        found = cluster.pod(name)
        states = [status.state.waiting for status in found.status.container_statuses] if found is not None else []
        return next(((state.reason, state.message) for state in states if state.message), None)

    found = await cluster.until(waits)
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("kind", ["docker", "containerd"])
async def test_only_who_may_pull_it_has_it(kind: str, folder: Path, request: pytest.FixtureRequest) -> None:
    with registry("alice", "right") as made:
        async with engine(kind, request) as runtime, running(runtime, folder, pod_cidr="10.254.77.0/24") as cluster:
            try:
                host = made.image.partition("/")[0]
                for name, place, password in (("wrong", f"{host}/team", "x"), ("right", host, "right")):
                    await cluster.client.create(secret(name, {place: {"username": "alice", "password": password}}))
                await cluster.client.create(asking("owner", made.image, "IfNotPresent", "right", "wrong"))
                await cluster.ready("owner")
                assert "alice" in made.came
                for policy, secrets in (("IfNotPresent", ()), ("IfNotPresent", ("wrong",)), ("Always", ())):
                    name = f"{policy.lower()}-{len(secrets)}"
                    await cluster.client.create(asking(name, made.image, policy, *secrets))
                    reason, words = await refusal(cluster, name)
                    assert reason in ("ErrImagePull", "ImagePullBackOff") and "on this machine" not in words, words
                await cluster.client.create(asking("never", made.image, "Never"))
                assert (await refusal(cluster, "never"))[0] == "ErrImageNeverPull"
                before = len(made.came)
                await cluster.client.create(asking("friend", made.image, "Never", "right"))
                await cluster.ready("friend")
                assert len(made.came) == before, "nobody asked the registry"
            finally:
                for pod in cluster.api.all(core.Pod):
                    await cluster.client.delete(core.Pod, pod.metadata.name, "default", grace_period_seconds=0)
                await cluster.until(lambda: not runtime.observed())
                await runtime.remove_image(made.image)
