"""What several components ask of a Node."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def is_taken_out(node: core.Node) -> bool:
    """Whether somebody says that nothing runs there any more."""
    return any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints)
