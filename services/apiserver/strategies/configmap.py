"""The strategy of ConfigMaps."""

from __future__ import annotations

from services.apiserver.strategies.strategy import Strategy


class ConfigMapStrategy(Strategy):
    """No defaults."""
