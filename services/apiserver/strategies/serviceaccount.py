"""The strategy of ServiceAccounts."""

from __future__ import annotations

from services.apiserver.strategies.strategy import Strategy


class ServiceAccountStrategy(Strategy):
    """No defaults."""
