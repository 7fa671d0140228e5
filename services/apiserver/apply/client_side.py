"""The way from kubectl's client-side apply to the server's, and back: its annotation tells what it applied last.

As in Kubernetes only a manager of kubectl's own name goes it.
"""

from __future__ import annotations

from typing import Any

import orjson

from knarr.machinery import budget
from knarr.machinery.errors import StatusError
from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.check import problems
from knarr.machinery.fieldsets.compare import compare
from knarr.machinery.fieldsets.fields import EMPTY, Fields
from knarr.machinery.fieldsets.managers import Conflicts
from knarr.machinery.fieldsets.members import mentioned
from knarr.machinery.fieldsets.shape import Shape

KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAX_BYTES = 256 * 1024


def others_conflicts(conflicts: Conflicts, live: dict[str, Any], api_version: str, shape: Shape) -> Conflicts | None:
    """The conflicts that are not over what kubectl applied last, and nobody changed since; None when there are none."""
    own = _last_applied(live, api_version, shape)
    left = {manager: rest for manager, fields in conflicts.fields.items() if (rest := sets.difference(fields, own))}
    return Conflicts(left) if left else None


def _last_applied(live: dict[str, Any], api_version: str, shape: Shape) -> Fields:
    """What the annotation says and the object still has."""
    text = _annotations(live).get(LAST_APPLIED)
    try:
        config = orjson.loads(text) if text else None
        budget.check(config)
    except (orjson.JSONDecodeError, StatusError):
        return EMPTY
    if not isinstance(config, dict) or config.get("apiVersion") != api_version or problems(shape, config):
        return EMPTY
    found = compare(shape, config, live)
    fields = mentioned(shape, config)
    for part in (found.modified, found.added, found.removed):
        fields = sets.difference(fields, part)
    return fields


def with_annotation(value: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The object as it is with the annotation brought up to date, for those who still apply at their own side; itself without one."""
    if not _annotations(value).get(LAST_APPLIED):
        return value
    metadata = dict(config.get("metadata") or {})
    own = {name: item for name, item in (metadata.get("annotations") or {}).items() if name != LAST_APPLIED}
    metadata = {**metadata, "annotations": own} if "annotations" in metadata else metadata
    text = orjson.dumps({**config, "metadata": metadata}, option=orjson.OPT_SORT_KEYS) + b"\n"
    annotations = {**_annotations(value), LAST_APPLIED: text.decode()}
    if sum(len(name) + len(item) for name, item in annotations.items()) > MAX_BYTES:
        del annotations[LAST_APPLIED]
    return {**value, "metadata": {**value["metadata"], "annotations": annotations}}


def _annotations(value: dict[str, Any]) -> dict[str, str]:
    return (value.get("metadata") or {}).get("annotations") or {}
