"""Pods in an engine that speaks the container runtime interface (CRI v1), containerd for one."""

from services.kubelet.runtime.cri.runtime import CriRuntime
from services.kubelet.runtime.cri.settings import CriSettings

__all__ = ["CriRuntime", "CriSettings"]
