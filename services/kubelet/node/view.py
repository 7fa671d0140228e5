"""What pods may learn of the node that they run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeView:
    """The node in a pod's environment and volumes. ``allocatable``, quantities by resource, stands in for limits that are not set."""

    name: str
    ip: str
    allocatable: Mapping[str, str]
