"""The quality-of-service class of a pod, from its containers' requests and limits."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from knarr.api.core.v1 import core_pb2 as core

COMPUTE = ("cpu", "memory")


def qos_class(spec: core.PodSpec) -> str:
    """BestEffort without any request or limit, Guaranteed when every container's are set and equal, else Burstable."""
    containers = [*spec.init_containers, *spec.containers]
    requests = [_amounts(container.resources.requests) for container in containers]
    limits = [_amounts(container.resources.limits) for container in containers]
    if not any(requests) and not any(limits):
        return "BestEffort"
    guaranteed = all(
        set(limit) == set(COMPUTE) and all(request.get(name, limit[name]) == limit[name] for name in COMPUTE)
        for request, limit in zip(requests, limits, strict=True)
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _amounts(resources: Any) -> dict[str, Any]:
    found = {name: _parse(resources[name].string) for name in COMPUTE if name in resources}
    return {name: amount for name, amount in found.items() if amount > 0}


_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def _parse(text: str) -> Decimal:
    match = re.fullmatch(r"([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([numkKMGTPEi]*))", text)
    if match is None:
        return Decimal(0)
    number, exponent, suffix = Decimal(match[1]), match[2], match[3] or ""
    if exponent:
        return number.scaleb(int(exponent[1:]))
    return number * 1024 ** _BINARY[suffix] if suffix in _BINARY else number.scaleb(_SUFFIXES.get(suffix, 0))
