"""Of which node a call is, where several answer at one address: the API server says it beside each call to a kubelet."""

from __future__ import annotations

from collections.abc import Iterable

NODE_METADATA = "knarr-node"


def naming(node: str) -> tuple[tuple[str, str], ...]:
    """The metadata that name a node."""
    return ((NODE_METADATA, node),)


def node_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The node that a call's metadata name; empty where they name none."""
    return next((str(value) for key, value in metadata if key == NODE_METADATA), "")
