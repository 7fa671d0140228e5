"""The names of simulated nodes: in one domain, so that one certificate names them all."""

from __future__ import annotations

DOMAIN = "hollow.internal"
# As a certificate says it.
EVERY_NODE = f"*.{DOMAIN}"
# What the nodes of a process of their own are labelled with: a cluster may have machines beside them.
LABEL = "knarr.dev/hollow"
# In the folder of such a process: the one with what each of its nodes is known by, as `<node>.crt` and `<node>.key`.
PAIRS = "nodes"
# Most of a cluster: as many as have ranges of pod addresses in a network of the size of 10.0.0.0/8, beside Services and load balancers.
MOST_NODES = 20_000


def node_name(number: int) -> str:
    """``node-1.hollow.internal``"""
    return f"node-{number}.{DOMAIN}"


def node_number(name: str) -> int:
    """The number that gives a name; 0 where none does."""
    number = name.removeprefix("node-").removesuffix(f".{DOMAIN}")
    found = int(number) if number.isascii() and number.isdecimal() and len(number) < len(str(MOST_NODES)) + 1 else 0
    return found if node_name(found) == name else 0
