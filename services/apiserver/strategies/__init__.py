"""The rules of the kinds. ``strategy_for`` is the way in; a kind without an entry follows ``Strategy``."""

from __future__ import annotations

from google.protobuf.message import Message

from knarr.machinery.kinds import Kind
from services.apiserver.strategies.strategy import Column, Strategy

STRATEGIES: dict[type[Message], Strategy] = {}

_PLAIN = Strategy()


def strategy_for(kind: Kind) -> Strategy:
    """The strategy of a kind, by its message type."""
    return STRATEGIES.get(kind.message, _PLAIN)


__all__ = ["STRATEGIES", "Column", "Strategy", "strategy_for"]
