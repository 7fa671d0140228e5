"""Rules about requests and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import Path, check_choice, check_format, duplicate, invalid, qualified_name, required
from knarr.objects.amounts import exact
from knarr.objects.whole_pods import HUGE_PAGES
from services.apiserver.strategies.amounts import check_amount, is_whole
from services.apiserver.strategies.resourcenames import CONTAINER_NAMES, STANDARD_NAMES

# What of a container may be changed while it runs.
RESIZABLE = ("cpu", "memory")
NOT_REQUIRED, RESTART = "NotRequired", "RestartContainer"


def validate_resources(resources: core.ResourceRequirements, path: Path) -> list[Cause]:
    """Names, signs, and requests no larger than the limits."""
    limits, requests = resources.limits, resources.requests
    causes = [cause for name in sorted(limits) for cause in _amount(name, limits, path.child("limits").key(name))]
    for name in sorted(requests):
        causes += _amount(name, requests, path.child("requests").key(name))
        if name in limits:
            causes += _request_within(name, requests[name], limits[name], path.child("requests"))
        elif not _overcommits(name):
            causes.append(required(path.child("limits"), "Limit must be set for non overcommitable resources"))
    return causes


def _native(name: str) -> bool:
    """Kubernetes' own resources; all others are extended ones, which are counted in whole numbers."""
    return "/" not in name or "kubernetes.io/" in name


def _overcommits(name: str) -> bool:
    """What may be promised twice."""
    return _native(name) and not name.startswith(HUGE_PAGES)


def _amount(name: str, amounts: Mapping[str, meta.Quantity], path: Path) -> list[Cause]:
    causes = validate_resource_name(name, path) + check_amount(amounts[name], path)
    if not _native(name) and not is_whole(amounts[name]):
        causes.append(invalid(path, amounts[name].string, "must be an integer"))
    return causes


def validate_resource_name(name: str, path: Path) -> list[Cause]:
    causes = check_format(path, name, qualified_name)
    if causes or "/" in name or name in CONTAINER_NAMES or name.startswith(HUGE_PAGES):
        return causes
    if name not in STANDARD_NAMES:
        causes.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return [*causes, invalid(path, name, "must be a standard resource for containers")]


def _request_within(name: str, request: meta.Quantity, limit: meta.Quantity, path: Path) -> list[Cause]:
    wanted, most = exact(request), exact(limit)
    if wanted is None or most is None or wanted == most:
        return []
    if not _overcommits(name):
        return [invalid(path, request.string, f"must be equal to {name} limit of {limit.string}")]
    return [invalid(path, request.string, f"must be less than or equal to {name} limit of {limit.string}")] if wanted > most else []


def validate_resize_policy(policies: Sequence[core.ContainerResizePolicy], restart_policy: str, path: Path) -> list[Cause]:
    """Of one container; ``restart_policy`` is its pod's."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for policy in policies:
        if policy.resource_name in seen:
            causes.append(duplicate(path, policy.resource_name))
        seen.add(policy.resource_name)
        causes += check_choice(path, policy.resource_name, RESIZABLE) + check_choice(path, policy.restart_policy, (NOT_REQUIRED, RESTART))
        if restart_policy == "Never" and policy.restart_policy not in ("", NOT_REQUIRED):
            causes.append(invalid(path, policy.restart_policy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
    return causes
