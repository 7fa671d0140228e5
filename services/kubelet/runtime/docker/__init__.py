"""Pods in a Docker engine (Engine API 1.41 and later)."""

from services.kubelet.runtime.docker.network import remove_everything
from services.kubelet.runtime.docker.runtime import DockerRuntime
from services.kubelet.runtime.docker.settings import DockerSettings

__all__ = ["DockerRuntime", "DockerSettings", "remove_everything"]
