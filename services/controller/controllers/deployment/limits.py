"""maxSurge and maxUnavailable as numbers of pods."""

from __future__ import annotations

from dataclasses import dataclass

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.objects.int_or_string import scaled_value


@dataclass(frozen=True, slots=True)
class Limits:
    """How many pods a rollout may have more (``surge``) or fewer (``unavailable``) than asked for."""

    surge: int
    unavailable: int


def limits(spec: apps.DeploymentSpec) -> Limits:
    """Percentages of ``spec.replicas``: surge rounds up, unavailable down; both at zero allow one unavailable pod."""
    if spec.strategy.type != "RollingUpdate":
        return Limits(0, 0)
    rolling = spec.strategy.rolling_update
    surge = scaled_value(rolling.max_surge, spec.replicas, round_up=True)
    unavailable = scaled_value(rolling.max_unavailable, spec.replicas, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(surge, min(unavailable, spec.replicas))
