"""Amounts that a LimitRange gives to containers that say none. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta

# What was filled in, for who wonders.
ANNOTATION = "kubernetes.io/limit-ranger"


def fill_in(pod: core.Pod, found: core.LimitRange) -> bool:
    """Gives containers what they lack, and says so in the pod; whether it did anything."""
    requests: dict[str, meta.Quantity] = {}
    limits: dict[str, meta.Quantity] = {}
    for item in found.spec.limits:
        if item.type == "Container":
            requests.update(item.default_request)
            limits.update(item.default)
    if not requests and not limits:
        return False
    told = [words for container in pod.spec.containers for words in _container(container, "container", requests, limits)]
    told += [words for container in pod.spec.init_containers for words in _container(container, "init container", requests, limits)]
    if told:
        pod.metadata.annotations[ANNOTATION] = f"LimitRanger plugin set: {'; '.join(told)}"
    return bool(told)


def _container(
    container: core.Container, kind: str, requests: Mapping[str, meta.Quantity], limits: Mapping[str, meta.Quantity]
) -> Iterator[str]:
    """Gives one container what it lacks; what that is, in words."""
    for field, given in (("requests", requests), ("limits", limits)):
        lacking = sorted(given.keys() - getattr(container.resources, field).keys())
        for name in lacking:
            getattr(container.resources, field)[name].CopyFrom(given[name])
        if lacking:
            yield f"{', '.join(lacking)} {field.removesuffix('s')} for {kind} {container.name}"
