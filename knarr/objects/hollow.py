"""The names of simulated nodes: in one domain, so that one certificate names them all."""

from __future__ import annotations

DOMAIN = "hollow.internal"
# As a certificate says it.
EVERY_NODE = f"*.{DOMAIN}"


def node_name(number: int) -> str:
    """``node-1.hollow.internal``"""
    return f"node-{number}.{DOMAIN}"
