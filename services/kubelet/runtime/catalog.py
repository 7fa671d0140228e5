"""Makes runtimes by their names.

What is here is asked before a cluster starts, by who makes none of them: so they are loaded when they are made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.kubelet.runtime.cri import CriSettings
    from services.kubelet.runtime.docker.settings import DockerSettings
    from services.kubelet.runtime.port import Runtime
    from services.kubelet.settings import KubeletSettings

RUNTIMES = ("docker", "containerd", "hollow")
DEFAULT_ENGINE = "unix:///var/run/docker.sock"


def engine_url() -> str:
    """Where the Docker engine listens: ``DOCKER_HOST``, as for every Docker client, or its usual socket."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE


def bridge_name(cluster_id: str) -> str:
    """The interface of the node's pods; named after the cluster, so that two of them do not meet on one machine."""
    return f"kn-{cluster_id}"[:15]


def network_name(cluster_id: str) -> str:
    """The network of the node's pods, as an engine calls it."""
    return f"knarr-{cluster_id}"


def make_runtime(name: str, settings: KubeletSettings) -> Runtime:
    """The runtime called ``docker``, ``containerd`` or ``hollow``; what the others need is not imported."""
    if name == "hollow":
        from services.kubelet.runtime.hollow import HollowRuntime

        return HollowRuntime(settings.pod_cidr)
    if name == "containerd":
        from services.kubelet.runtime.cri import CriRuntime

        return CriRuntime(cri_settings(settings))
    from services.kubelet.runtime.docker.runtime import DockerRuntime

    return DockerRuntime(docker_settings(settings))


def docker_settings(settings: KubeletSettings) -> DockerSettings:
    """How a node's kubelet sets its Docker runtime up."""
    from services.kubelet.runtime.docker.settings import DockerSettings

    return DockerSettings(
        cluster_id=settings.cluster_id,
        node_name=settings.node_name,
        pod_cidr=settings.pod_cidr,
        url=engine_url(),
        network=network_name(settings.cluster_id),
        bridge=bridge_name(settings.cluster_id),
        network_of=settings.network_of,
        log_max_bytes=settings.container_log_max_bytes,
        log_max_files=settings.container_log_max_files,
        registry_mirror=settings.registry_mirror,
    )


def cri_settings(settings: KubeletSettings) -> CriSettings:
    """How a node's kubelet sets its CRI runtime up."""
    from services.kubelet.runtime.cri import CriSettings

    return CriSettings(
        cluster_id=settings.cluster_id,
        node_name=settings.node_name,
        pod_cidr=settings.pod_cidr,
        endpoint=settings.container_runtime_endpoint,
        network=network_name(settings.cluster_id),
        bridge=bridge_name(settings.cluster_id),
        log_max_bytes=settings.container_log_max_bytes,
        log_max_files=settings.container_log_max_files,
        registry_mirror=settings.registry_mirror,
    )
