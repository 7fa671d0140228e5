"""Template hashes: a short text that is the same for pod templates that mean the same."""

from __future__ import annotations

import hashlib
import json

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.objects.copies import copy_of
from knarr.objects.names import encoded


def canonical(template: core.PodTemplateSpec, hash_label: str) -> str:
    """The template's JSON without ``hash_label``, in which workloads note the hash: equal for templates that mean the same."""
    copy = copy_of(template)
    copy.metadata.labels.pop(hash_label, None)
    copy.metadata.ClearField("creation_timestamp")
    data = codec.to_dict(copy)
    data["metadata"] = {key: value for key, value in data.get("metadata", {}).items() if value}
    return json.dumps(data, sort_keys=True)


def template_hash(template: core.PodTemplateSpec, hash_label: str, collision_count: int) -> str:
    """Stable for a template; another one for each collision with a name that is taken."""
    digest = hashlib.sha256(f"{canonical(template, hash_label)}\n{collision_count}".encode()).digest()
    return encoded(int.from_bytes(digest[:4], "big"))
