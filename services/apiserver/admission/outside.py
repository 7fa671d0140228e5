"""What admission needs beside the store, where it asks others or judges by expressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.apiserver.authorization import ALLOW_AUTHENTICATED, Authorizer
from services.apiserver.conversion.conversions import Conversions
from services.apiserver.strategies import Strategies, strategy_for

if TYPE_CHECKING:
    from services.apiserver.webhooks.client import WebhookClient


def nobody_called() -> WebhookClient:
    """Of a server that calls no webhooks: what a webhook must be asked about does not pass there."""
    raise RuntimeError("this API server calls no webhooks")


@dataclass(frozen=True, slots=True)
class Outside:
    """``client`` answers what webhooks are called with, always the same; ``conversions`` make objects of other versions, ``strategies``
    fill in what a change has left out, and ``authorizer`` is who is asked by an expression."""

    client: Callable[[], WebhookClient] = nobody_called
    conversions: Conversions = field(default_factory=Conversions)
    authorizer: Authorizer = ALLOW_AUTHENTICATED
    strategies: Strategies = strategy_for
