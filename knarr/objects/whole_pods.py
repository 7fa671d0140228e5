"""What is asked for a pod as a whole, instead of for its containers."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core

COMPUTE = ("cpu", "memory")
HUGE_PAGES = "hugepages-"


def is_of_whole_pods(name: str) -> bool:
    """Whether a resource may be asked for a pod as a whole."""
    return name in COMPUTE or name.startswith(HUGE_PAGES)


def asks_as_a_whole(spec: core.PodSpec) -> bool:
    """Whether a pod asks for something as a whole, or is limited as a whole."""
    return any(is_of_whole_pods(name) for amounts in (spec.resources.requests, spec.resources.limits) for name in amounts)
