"""The strategy of ControllerRevisions."""

from __future__ import annotations

from services.apiserver.strategies.strategy import Strategy


class ControllerRevisionStrategy(Strategy):
    """No defaults."""
