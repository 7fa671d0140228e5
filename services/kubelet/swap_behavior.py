"""How much of a machine's swap pods may use, by the names of Kubernetes' memorySwap.swapBehavior."""

from __future__ import annotations

NO_SWAP, LIMITED_SWAP = SWAP_BEHAVIORS = ("NoSwap", "LimitedSwap")
