"""The range of pod addresses that a node wishes to have again: what its pods have addresses of when its Node was made anew."""

from __future__ import annotations

from ipaddress import IPv4Network

from knarr.api.core.v1 import core_pb2 as core

WISH_ANNOTATION = "knarr.io/pod-cidr"


def wished_range(node: core.Node) -> IPv4Network | None:
    """None where the node wishes none, or says no range."""
    text = node.metadata.annotations.get(WISH_ANNOTATION, "")
    try:
        return IPv4Network(text) if text else None
    except ValueError:
        return None
