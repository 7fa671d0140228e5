"""What the containers of a pod come to at the most, in amounts of any form that can be added and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.pods import is_sidecar

# An int or a Quantity.
A = TypeVar("A", bound=Any)


def add(total: dict[str, A], part: Mapping[str, A]) -> None:
    """Adds to ``total``, whose notation stays."""
    for name, amount in part.items():
        total[name] = total[name] + amount if name in total else amount


def at_least(total: dict[str, A], part: Mapping[str, A]) -> None:
    """Lets ``total`` be nowhere less than ``part``."""
    for name, amount in part.items():
        if name not in total or amount > total[name]:
            total[name] = amount


def peak(spec: core.PodSpec, amounts_of: Callable[[core.Container], dict[str, A]]) -> dict[str, A]:
    """The most at any time: its containers together with its sidecars, or an init container beside the sidecars that were started before
    it. ``amounts_of`` answers what is its caller's own."""
    total: dict[str, A] = {}
    sidecars: dict[str, A] = {}
    most: dict[str, A] = {}
    for container in spec.containers:
        add(total, amounts_of(container))
    for container in spec.init_containers:
        needs = amounts_of(container)
        if is_sidecar(container):
            add(total, needs)
            add(sidecars, needs)
            needs = sidecars
        else:
            add(needs, sidecars)
        at_least(most, needs)
    at_least(total, most)
    return total
