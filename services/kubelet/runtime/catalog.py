"""Makes runtimes by their names.

What is here is asked before a cluster starts, by who makes none of them: so they are loaded when they are made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.kubelet.runtime.port import Runtime
    from services.kubelet.settings import KubeletSettings

RUNTIMES = ("docker", "hollow")
DEFAULT_ENGINE = "unix:///var/run/docker.sock"


def engine_url() -> str:
    """Where the Docker engine listens: ``DOCKER_HOST``, as for every Docker client, or its usual socket."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE


def bridge_name(cluster_id: str) -> str:
    """The interface of the node's pods; named after the cluster, so that two of them do not meet on one machine."""
    return f"kn-{cluster_id}"[:15]


def make_runtime(name: str, settings: KubeletSettings) -> Runtime:
    """The runtime called ``docker`` or ``hollow``; what the other needs is not imported."""
    if name == "hollow":
        from services.kubelet.runtime.hollow import HollowRuntime

        return HollowRuntime(settings.pod_cidr)
    from services.kubelet.runtime.docker.runtime import DockerRuntime
    from services.kubelet.runtime.docker.settings import DockerSettings

    docker = DockerSettings(
        cluster_id=settings.cluster_id,
        node_name=settings.node_name,
        pod_cidr=settings.pod_cidr,
        url=engine_url(),
        network=f"knarr-{settings.cluster_id}",
        bridge=bridge_name(settings.cluster_id),
    )
    return DockerRuntime(docker)
