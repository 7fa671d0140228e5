"""Shuffle sharding: a flow is dealt a few of many queues, and waits in the shortest of them.

Two flows rarely have all of their queues in common: one that fills its own leaves the other a queue that is nearly empty.
"""

from __future__ import annotations

import hashlib


def flow_hash(schema: str, distinguisher: str) -> int:
    """64 bits for a flow."""
    return int.from_bytes(hashlib.sha256(f"{schema}/{distinguisher}".encode()).digest()[:8], "little")


def dealt(value: int, queues: int, hand_size: int) -> tuple[int, ...]:
    """``hand_size`` different numbers below ``queues``, the same for the same value."""
    drawn: list[int] = []
    for taken in range(hand_size):
        value, card = divmod(value, queues - taken)
        # Of those that are not drawn yet, the card-th.
        for other in sorted(drawn):
            if card >= other:
                card += 1
        drawn.append(card)
    return tuple(drawn)
