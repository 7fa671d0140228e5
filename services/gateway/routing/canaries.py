"""Canaries: routes that get a part of what another route takes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from services.gateway.routing.actions import Action, Weighted
from services.gateway.routing.conditions import Condition

ALWAYS, NEVER = "always", "never"


@dataclass(frozen=True, slots=True)
class Canary:
    """By whom it is chosen, in this order: a header (with ``value``, a text or an expression, that alone leads to it; else ``always`` and
    ``never``), a cookie (``always`` and ``never``), and chance: ``weight`` in ``whole``."""

    weight: int = 0
    whole: int = 100
    header: str = ""
    value: str = ""
    regex: bool = False
    cookie: str = ""

    def parts(self, main: Action, own: Action) -> Iterator[tuple[dict[str, Any], Action, bool]]:
        """Of a route without conditions: conditions, what is done to requests that meet them (the last one to all others), and
        whether that is the canary's. A canary leads elsewhere, and does what the other does."""
        own = replace(main, targets=own.targets, options=replace(main.options, protocol=own.options.protocol))
        if self.header and self.value:
            yield {"headers": (Condition(self.header, self.value, self.regex),)}, own, True
        elif self.header:
            yield {"headers": (Condition(self.header, ALWAYS),)}, own, True
            yield {"headers": (Condition(self.header, NEVER),)}, main, False
        if self.cookie:
            yield {"cookies": (Condition(self.cookie, ALWAYS),)}, own, True
            yield {"cookies": (Condition(self.cookie, NEVER),)}, main, False
        yield {}, self._shared(main, own), False

    def _shared(self, main: Action, own: Action) -> Action:
        weight = min(self.weight, self.whole)
        if not weight or main.redirect is not None:
            return main
        if main.options != own.options:
            return Action(choices=((weight, own), *(((self.whole - weight, main),) if weight < self.whole else ())))
        rest = [replace(share, weight=share.weight * (self.whole - weight)) for share in main.targets]
        return replace(main, targets=(*rest, *(Weighted(share.target, weight, share.status) for share in own.targets)))
