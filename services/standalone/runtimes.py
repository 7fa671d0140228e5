"""Which runtime the kubelet of a one-machine cluster gets."""

from __future__ import annotations

from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import Runtime
from services.kubelet.settings import KubeletSettings
from services.standalone.settings import ClusterSettings


def make_runtime(settings: ClusterSettings, kubelet: KubeletSettings) -> Runtime:
    """The runtime of ``settings.runtime``."""
    if settings.runtime == "hollow":
        return HollowRuntime(kubelet.pod_cidr)
    from services.kubelet.runtime.docker.runtime import DockerRuntime

    return DockerRuntime(kubelet)
