"""Kinds that have no rules of their own beyond how their stores behave."""

from __future__ import annotations

from services.apiserver.strategies.strategy import Strategy


class ReturnedStrategy(Strategy):
    """A delete answers what was there."""

    returns_deleted = True
