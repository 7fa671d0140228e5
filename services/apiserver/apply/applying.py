"""Server-side apply to one object, or to its Scale: what it becomes, and who manages it then."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.machinery import codec
from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.fieldsets.managers import APPLY, UPDATE, Applied, Conflicts, Managed, Manager, Versions, applied, updated
from services.apiserver.apply import client_side, entries, scale
from services.apiserver.apply.changes import Changes
from services.apiserver.apply.conflicts import refusal
from services.apiserver.apply.versions import Known, ServedVersions
from services.apiserver.results import Ref

# Whose everything is that an object had when it was applied for the first time, and had no managers.
BEFORE_FIRST_APPLY = "before-first-apply"


class Applier(NamedTuple):
    """Who applies, when, and whether at any price."""

    name: str
    now: datetime
    force: bool

    @property
    def seconds(self) -> int:
        return int(self.now.timestamp())


def apply_object(ref: Ref, live: Any, config: dict[str, Any], unreached: Fields, applier: Applier, known: Known | None = None) -> Any:
    """What becomes of ``live``, which is the caller's own, by ``config``: as it is stored, with its managers.

    Raises Conflict, Unconverted.
    """
    api_version, versions = ref.version.api_version, ServedVersions(ref.version, unreached, known)
    managed = entries.stored(live.metadata)
    live.metadata.ClearField("managed_fields")
    if not managed:
        earlier = Manager(BEFORE_FIRST_APPLY, UPDATE, api_version, ref.subresource)
        managed = updated(versions, {}, Changes(versions, None, live).compared, earlier, api_version, applier.seconds)
    before = versions.value(live, api_version)
    found = _apply(versions, before, config, api_version, managed, Manager(applier.name, APPLY, "", ref.subresource), applier)
    value = before if found.value is None else found.value
    if applier.name == client_side.KUBECTL:
        value = client_side.with_annotation(value, config)
    result = live if value is before else versions.message(value, api_version)
    entries.write(result.metadata, found.managed)
    return result


def apply_scale(ref: Ref, shown: autoscaling.Scale, live: Any, config: dict[str, Any], path: tuple[str, ...], applier: Applier) -> Any:
    """The same for the Scale ``shown`` of ``live``, whose count of replicas is at ``path``. The managers are those of the object."""
    managed = entries.stored(live.metadata)
    before, manager = codec.to_dict(shown), Manager(applier.name, APPLY, "", ref.subresource)
    found = _apply(scale.ScaleVersions(), before, config, scale.API_VERSION, scale.of_object(managed, path), manager, applier)
    result = shown if found.value is None else codec.from_json(autoscaling.Scale, found.value).message
    entries.write(result.metadata, scale.to_object(managed, found.managed, path, ref.version.api_version))
    return result


def _apply(
    versions: Versions, live: Any, config: dict[str, Any], api_version: str, managed: Managed, manager: Manager, applier: Applier
) -> Applied:
    try:
        return applied(versions, live, config, api_version, managed, manager, applier.seconds, force=applier.force)
    except Conflicts as conflicts:
        shape = versions.shape(api_version)
        assert shape is not None
        left: Conflicts | None = conflicts
        if applier.name == client_side.KUBECTL:
            left = client_side.others_conflicts(conflicts, live, api_version, shape)
    if left is not None:
        raise refusal(left)
    return applied(versions, live, config, api_version, managed, manager, applier.seconds, force=True)
