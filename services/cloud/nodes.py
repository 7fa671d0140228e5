"""What several parts of the cloud controller manager ask of a node."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.tolerations import UNINITIALIZED


def is_uninitialized(node: core.Node) -> bool:
    """Whether its kubelet waits for the provider to tell of its machine."""
    return any(taint.key == UNINITIALIZED for taint in node.spec.taints)


def belongs_to(node: core.Node, provider: str) -> bool:
    """Whether its provider id is one of that provider's; all others are left alone."""
    return bool(node.spec.provider_id.startswith(f"{provider}://"))
