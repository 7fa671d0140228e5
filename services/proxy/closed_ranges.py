"""Ranges that a proxy closes on its node by unreachable routes, and which proxy that was: the route's preference says so. Pure."""

from __future__ import annotations

import re

# Beneath every other route of a node, and beneath those the ones that the pod network leaves in force without a proxy.
DATAPATH, POD_NETWORK = 4_000_000_000, 4_000_000_001
# As much of an instance's name as fits into a preference, which has 32 bits.
DIGITS = 7
_INSTANCE = re.compile(r"[0-9a-f]{8}")


def preference(lowest: int, instance: str) -> int:
    """Of the routes of an instance; the lowest itself for one whose name is no eight digits."""
    return lowest + int(instance[:DIGITS], 16) if _INSTANCE.fullmatch(instance) else lowest


def instance_of(lowest: int, found: int) -> str:
    """How the name of the instance begins that a preference is of; empty where it tells none."""
    number = found - lowest
    return f"{number:0{DIGITS}x}" if 0 < number < 1 << 4 * DIGITS else ""
