"""Tolerations of two sides as one list: what another one covers is left out. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from knarr.api.core.v1 import core_pb2 as core

EXISTS, EQUAL = "Exists", "Equal"


def merged(every: Sequence[core.Toleration]) -> list[core.Toleration]:
    """Of those that are equal the first one stays."""
    kept: list[core.Toleration] = []
    for index, toleration in enumerate(every):
        if any(covers(other, toleration) for other in kept):
            continue
        if any(other != toleration and covers(other, toleration) for other in every[index + 1 :]):
            continue
        kept.append(toleration)
    return kept


def covers(wide: core.Toleration, narrow: core.Toleration) -> bool:
    """Whether all that ``narrow`` tolerates, and as long, ``wide`` does too."""
    if wide == narrow:
        return True
    if wide.key != narrow.key and (wide.key or wide.operator != EXISTS):
        return False
    if wide.effect not in ("", narrow.effect):
        return False
    if wide.effect == "NoExecute" and _seconds(wide) < _seconds(narrow):
        return False
    if wide.operator in (EQUAL, ""):
        return narrow.operator in (EQUAL, "") and wide.value == narrow.value
    return wide.operator == EXISTS


def _seconds(toleration: core.Toleration) -> float:
    """For ever where it says nothing."""
    return toleration.toleration_seconds if toleration.HasField("toleration_seconds") else math.inf
