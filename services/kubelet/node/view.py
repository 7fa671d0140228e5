"""What pods may learn of the node that they run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostSecurity:
    """Which of the kernel's modules for security are switched on, and which parameters of it pods may set beside the safe ones: names, or
    how they begin before ``*``."""

    app_armor: bool = False
    selinux: bool = False
    unsafe_sysctls: tuple[str, ...] = ()


NO_MODULES = HostSecurity()


@dataclass(frozen=True, slots=True)
class NodeView:
    """The node in a pod's environment and volumes. ``allocatable``, quantities by resource, stands in for limits that are not set.
    ``folders`` is where its volumes of the class local-path lie, ``root`` the kubelet's own folder: paths; empty: it has none.
    ``recursive_read_only``: what is mounted below a volume can be made read-only with it."""

    name: str
    ip: str
    allocatable: Mapping[str, str]
    folders: str = ""
    root: str = ""
    recursive_read_only: bool = False
    host: HostSecurity = NO_MODULES
