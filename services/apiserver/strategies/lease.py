"""The strategy of Leases."""

from __future__ import annotations

from services.apiserver.strategies.strategy import Strategy


class LeaseStrategy(Strategy):
    """No defaults."""
