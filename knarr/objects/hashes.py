"""Template hashes: a short text that is the same for pod templates that mean the same."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.objects.names import encoded

# Controllers ask the same of the same few templates again and again; of larger ones the answers would be much to keep.
REMEMBERED, REMEMBERED_BYTES = 512, 16 * 1024


def canonical(template: core.PodTemplateSpec, hash_label: str) -> str:
    """The template's JSON without ``hash_label``, in which workloads note the hash: equal for templates that mean the same."""
    raw = template.SerializeToString(deterministic=True)
    return _known(raw, hash_label) if len(raw) <= REMEMBERED_BYTES else _canonical(raw, hash_label)


def _canonical(raw: bytes, hash_label: str) -> str:
    template = core.PodTemplateSpec.FromString(raw)
    template.metadata.labels.pop(hash_label, None)
    template.metadata.ClearField("creation_timestamp")
    data = codec.to_dict(template)
    data["metadata"] = {key: value for key, value in data.get("metadata", {}).items() if value}
    return json.dumps(data, sort_keys=True)


_known = lru_cache(maxsize=REMEMBERED)(_canonical)


def template_hash(template: core.PodTemplateSpec, hash_label: str, collision_count: int) -> str:
    """Stable for a template; another one for each collision with a name that is taken."""
    digest = hashlib.sha256(f"{canonical(template, hash_label)}\n{collision_count}".encode()).digest()
    return encoded(int.from_bytes(digest[:4], "big"))
