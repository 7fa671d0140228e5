"""Pod templates: which ReplicaSet runs which, and the hash that names it."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.times import to_datetime
from knarr.objects import hashes

HASH_LABEL = "pod-template-hash"


def canonical(template: core.PodTemplateSpec) -> str:
    """Equal for templates that mean the same."""
    return hashes.canonical(template, HASH_LABEL)


def template_hash(template: core.PodTemplateSpec, collision_count: int) -> str:
    """Stable for a template; another one for each collision."""
    return hashes.template_hash(template, HASH_LABEL, collision_count)


def find_new(deployment: apps.Deployment, sets: Iterable[apps.ReplicaSet]) -> apps.ReplicaSet | None:
    """The oldest ReplicaSet with the deployment's template."""
    wanted = canonical(deployment.spec.template)
    return next((candidate for candidate in oldest_first(sets) if canonical(candidate.spec.template) == wanted), None)


def oldest_first(sets: Iterable[apps.ReplicaSet]) -> list[apps.ReplicaSet]:
    return sorted(sets, key=lambda rs: (to_datetime(rs.metadata.creation_timestamp), rs.metadata.name))
