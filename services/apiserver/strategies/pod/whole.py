"""The resources of a pod as a whole: their defaults and rules. Pure.

Specified by Kubernetes' pod-level resources (KEP 2837).
"""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, forbidden, invalid, not_supported
from knarr.objects.peaks import peak
from knarr.objects.pods import init_and_main_containers
from knarr.objects.totals import Totals, exactly, totals
from knarr.objects.whole_pods import COMPUTE, HUGE_PAGES, asks_as_a_whole, is_of_whole_pods
from services.apiserver.strategies.pod.resources import validate_resources


def default_as_a_whole(spec: core.PodSpec) -> None:
    """What a pod that asks as a whole leaves out: limits of huge pages by its containers', requests by theirs or by its limits, and limits
    where each container has one. After the containers' own defaults."""
    if not asks_as_a_whole(spec):
        return
    requests, limits = spec.resources.requests, spec.resources.limits
    by_requests, by_limits = _together(spec, "requests"), _together(spec, "limits")
    for name, amount in by_limits.items():
        if name.startswith(HUGE_PAGES) and name not in requests and name not in limits:
            limits[name].string = str(amount)
    if not limits:
        for name, amount in by_limits.items():
            if name in COMPUTE and all(name in container.resources.limits for container in init_and_main_containers(spec)):
                limits[name].string = str(amount)
    if not limits:
        return
    # Also after those of its containers have become its own: Kubernetes fills in what is missing each time that it reads a pod.
    for name, amount in by_requests.items():
        if name in COMPUTE and name not in requests:
            requests[name].string = str(amount)
    for name in limits:
        if is_of_whole_pods(name) and name not in requests:
            requests[name].CopyFrom(limits[name])


def validate_as_a_whole(spec: core.PodSpec, path: Path) -> list[Cause]:
    """Which resources, how they compare with one another, and that the containers fit in."""
    if not spec.HasField("resources"):
        return []
    path = path.child("resources")
    if spec.resources.claims:
        return [forbidden(path.child("claims"), "claims cannot be set for Resources at pod-level")]
    causes = [
        not_supported(path.child(kind).key(name), name, sorted((*COMPUTE, HUGE_PAGES)))
        for kind, amounts in (("limits", spec.resources.limits), ("requests", spec.resources.requests))
        for name in sorted(amounts)
        if not is_of_whole_pods(name)
    ]
    causes = causes or validate_resources(spec.resources, path)
    return causes or _consistent(spec, path)


def _consistent(spec: core.PodSpec, path: Path) -> list[Cause]:
    causes = _holds(_together(spec, "requests"), spec.resources.requests, "requests", path)
    huge = {name: amount for name, amount in _together(spec, "limits").items() if name.startswith(HUGE_PAGES)}
    causes += _holds(huge, spec.resources.limits, "limits", path)
    most = spec.resources.limits
    for index, container in enumerate(spec.containers):
        for name in sorted(container.resources.limits):
            own = container.resources.limits[name]
            if name in most and exactly(own) > exactly(most[name]):
                words = f"must be less than or equal to pod limits of {most[name].string}"
                causes.append(invalid(path.child("containers").index(index).child("limits").key(name), own.string, words))
    return causes


def _holds(together: Totals, whole: Mapping[str, meta.Quantity], kind: str, path: Path) -> list[Cause]:
    return [
        invalid(
            path.child(kind).key(name),
            whole[name].string,
            f"must be greater than or equal to aggregate container {kind} of {together[name]}",
        )
        for name in sorted(together)
        if name in whole and together[name] > exactly(whole[name])
    ]


def _together(spec: core.PodSpec, kind: str) -> Totals:
    """What the containers come to at the most."""
    return peak(spec, lambda container: totals(getattr(container.resources, kind)))
