"""maxSurge and maxUnavailable as numbers of pods."""

from __future__ import annotations

import math
from dataclasses import dataclass

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.meta.v1 import meta_pb2 as meta

_STRING = 1


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
    surge = _resolve(rolling.max_surge, spec.replicas, up=True)
    unavailable = _resolve(rolling.max_unavailable, spec.replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(surge, min(unavailable, spec.replicas))


def _resolve(value: meta.IntOrString, total: int, *, up: bool) -> int:
    if value.type != _STRING:
        return int(value.int_val)
    scaled = int(value.str_val.removesuffix("%")) * total / 100
    return math.ceil(scaled) if up else math.floor(scaled)
