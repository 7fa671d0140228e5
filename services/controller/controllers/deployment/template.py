"""Pod templates: which ReplicaSet runs which, and the hash that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.times import to_datetime
from knarr.objects.names import encoded

HASH_LABEL = "pod-template-hash"


def canonical(template: core.PodTemplateSpec) -> str:
    """The template's JSON without the hash label: equal for templates that mean the same."""
    copy = core.PodTemplateSpec()
    copy.CopyFrom(template)
    copy.metadata.labels.pop(HASH_LABEL, None)
    copy.metadata.ClearField("creation_timestamp")
    data = codec.to_dict(copy)
    data["metadata"] = {key: value for key, value in data.get("metadata", {}).items() if value}
    return json.dumps(data, sort_keys=True)


def template_hash(template: core.PodTemplateSpec, collision_count: int) -> str:
    """Stable for a template; another one for each collision."""
    digest = hashlib.sha256(f"{canonical(template)}\n{collision_count}".encode()).digest()
    return encoded(int.from_bytes(digest[:4], "big"))


def find_new(deployment: apps.Deployment, sets: Iterable[apps.ReplicaSet]) -> apps.ReplicaSet | None:
    """The oldest ReplicaSet with the deployment's template."""
    wanted = canonical(deployment.spec.template)
    return next((candidate for candidate in oldest_first(sets) if canonical(candidate.spec.template) == wanted), None)


def oldest_first(sets: Iterable[apps.ReplicaSet]) -> list[apps.ReplicaSet]:
    return sorted(sets, key=lambda rs: (to_datetime(rs.metadata.creation_timestamp), rs.metadata.name))
