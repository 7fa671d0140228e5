"""How fast a count may change: recent recommendations, policies by period, least and most pods. Pure; specified by ``autoscaling/v2``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from services.controller.controllers.horizontalpodautoscaler.replicas import MOST_PODS

PODS, PERCENT = "Pods", "Percent"
MIN, DISABLED = "Min", "Disabled"
# Without policies: twice as many, and four where that is less.
FACTOR, FEW = 2, 4


class At(NamedTuple):
    """What was recommended then, or by how much the count changed."""

    time: datetime
    replicas: int


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of an autoscaler: ``recommended`` before anything smoothed it, and its own changes ``ups`` and ``downs``, each by
    how many pods (more than 0)."""

    recommended: Sequence[At] = ()
    ups: Sequence[At] = ()
    downs: Sequence[At] = ()

    def recommending(self, replicas: int, now: datetime, keep_seconds: float) -> History:
        """Forgets what is older than ``keep_seconds``."""
        return replace(self, recommended=(*_since(self.recommended, now, keep_seconds), At(now, replicas)))

    def scaled(self, before: int, after: int, now: datetime, rules: autoscaling.HorizontalPodAutoscalerBehavior) -> History:
        """Forgets what no policy asks about any more."""
        keep = max((policy.period_seconds for found in (rules.scale_up, rules.scale_down) for policy in found.policies), default=0)
        ups, downs = _since(self.ups, now, keep), _since(self.downs, now, keep)
        if after > before:
            ups = [*ups, At(now, after - before)]
        elif after < before:
            downs = [*downs, At(now, before - after)]
        return replace(self, ups=ups, downs=downs)


@dataclass(frozen=True, slots=True)
class Limited:
    """A count, and why it is not another one, as a condition says it. ``limited``: it would be another one."""

    replicas: int
    limited: bool
    reason: str
    message: str


# Why: reason and message.
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
TOO_FAST_UP = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
TOO_FAST_DOWN = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")


def stabilized(history: History, current: int, desired: int, up_seconds: float, down_seconds: float, now: datetime) -> int:
    """Not more than the least that was recommended in the time for going up, not less than the most in that for going down."""
    lowest = min([desired, *(found.replicas for found in _since(history.recommended, now, up_seconds))])
    highest = max([desired, *(found.replicas for found in _since(history.recommended, now, down_seconds))])
    return min(max(current, lowest), highest)


def highest_recent(history: History, desired: int, seconds: float, now: datetime) -> int:
    """Of an autoscaler without policies: the most that was recommended lately."""
    return max([desired, *(found.replicas for found in _since(history.recommended, now, seconds))])


def limited(current: int, desired: int, least: int, most: int) -> Limited:
    """Of an autoscaler without policies."""
    fastest = max(FACTOR * current, FEW)
    allowed, why = (fastest, TOO_FAST_UP) if most > fastest else (most, TOO_MANY)
    if desired < least:
        return Limited(least, True, *TOO_FEW)
    return Limited(allowed, True, *why) if desired > allowed else Limited(desired, False, *WITHIN)


def limited_by_policies(
    current: int,
    desired: int,
    least: int,
    most: int,
    rules: autoscaling.HorizontalPodAutoscalerBehavior,
    history: History,
    now: datetime,
) -> Limited:
    if desired > current:
        fastest = max(_highest(current, rules.scale_up, history, now), current)
        allowed, why = (fastest, TOO_FAST_UP) if most > fastest else (most, TOO_MANY)
        if desired > allowed:
            return Limited(allowed, True, *why)
    elif desired < current:
        fastest = min(_lowest(current, rules.scale_down, history, now), current)
        allowed, why = (fastest, TOO_FAST_DOWN) if least < fastest else (least, TOO_FEW)
        if desired < allowed:
            return Limited(allowed, True, *why)
    return Limited(desired, False, *WITHIN)


def _highest(current: int, rules: autoscaling.HPAScalingRules, history: History, now: datetime) -> int:
    # Rounded up: a small percentage of few pods would never add one.
    proposed = [
        before + policy.value if policy.type == PODS else math.ceil(before * (1 + policy.value / 100))
        for policy, before in _policies(current, rules, history, now)
    ]
    chosen = min(proposed, default=current) if rules.select_policy == MIN else max(proposed, default=current)
    return min(chosen, MOST_PODS)


def _lowest(current: int, rules: autoscaling.HPAScalingRules, history: History, now: datetime) -> int:
    proposed = [
        before - policy.value if policy.type == PODS else int(before * (1 - policy.value / 100))
        for policy, before in _policies(current, rules, history, now)
    ]
    return max(proposed, default=current) if rules.select_policy == MIN else min(proposed, default=current)


def _policies(
    current: int, rules: autoscaling.HPAScalingRules, history: History, now: datetime
) -> Iterator[tuple[autoscaling.HPAScalingPolicy, int]]:
    """Each policy, and how many pods there were when its period began; none where no change is allowed."""
    for policy in rules.policies if rules.select_policy != DISABLED else ():
        yield policy, _at_start(current, policy.period_seconds, history, now)


def _at_start(current: int, period_seconds: int, history: History, now: datetime) -> int:
    """How many there were when the period began that ends now."""
    added = sum(change.replicas for change in _since(history.ups, now, period_seconds))
    removed = sum(change.replicas for change in _since(history.downs, now, period_seconds))
    return current - added + removed


def _since(found: Sequence[At], now: datetime, seconds: float) -> Sequence[At]:
    begin = now - timedelta(seconds=seconds)
    return [one for one in found if one.time > begin]
