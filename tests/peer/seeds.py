"""Which batches of random inputs are compared: ``KNARR_PEER_SEEDS=1-50`` has more of them."""

from __future__ import annotations

import os


def seeds(default: str) -> range:
    """Those of the environment, or ``default``: the first and the last, with a dash between them."""
    first, last = (int(part) for part in os.environ.get("KNARR_PEER_SEEDS", default).split("-"))
    return range(first, last + 1)
