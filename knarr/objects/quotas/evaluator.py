"""How objects of one resource use a quota."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.totals import ONE, Totals


class Evaluator:
    """Objects that are counted. ``names`` are those of a quota's amounts that count them."""

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)

    def tracks(self, name: str) -> bool:
        """Whether an amount of a quota is about such objects."""
        return name in self.names

    def usage(self, obj: Any, now: datetime) -> Totals:
        """What one object uses."""
        return dict.fromkeys(self.names, ONE)

    def in_scope(self, rule: core.ScopedResourceSelectorRequirement, obj: Any) -> bool:
        """Whether an object is in one of a quota's scopes; of most kinds none ever is."""
        return False

    def missing(self, names: Iterable[str], obj: Any) -> str:
        """What an object must say for a quota of ``names``, and does not, in words; empty when it lacks nothing."""
        return ""


def counted(group: str, plural: str) -> str:
    """The name of the number of all objects of a resource."""
    return f"count/{plural}.{group}" if group else f"count/{plural}"


def selects(rule: core.ScopedResourceSelectorRequirement, value: str) -> bool:
    """Whether a scope's rule chooses an object of this value; empty where it has none."""
    match rule.operator:
        case "In":
            return bool(value) and value in rule.values
        case "NotIn":
            return value not in rule.values
        case "Exists":
            return bool(value)
        case "DoesNotExist":
            return not value
    return False
