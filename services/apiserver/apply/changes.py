"""What a write changes of an object, in terms of each version that its managers know it in.

Only what differs is written as JSON: mostly that is a part of the object, such as its status.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from knarr.machinery import codec
from knarr.machinery.fieldsets.compare import SAME, Comparison, compare
from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.resources import Version
from knarr.objects.copies import copy_field, copy_of
from services.apiserver.apply.versions import ServedVersions, shape_of_version

# Of the metadata nobody owns these, so that a change of them alone is none.
NOBODYS = ("name", "namespace", "self_link", "uid", "resource_version", "generation", "creation_timestamp", "managed_fields")


class Changes:
    """``old`` and ``new`` are as ``versions`` has them given; without an old one, the new one has everything."""

    def __init__(self, versions: ServedVersions, old: Any, new: Any) -> None:
        self.versions, self._old, self._new = versions, old, new
        self._found: dict[str, Comparison] = {}

    def compared(self, api_version: str) -> Comparison:
        """In terms of a version that is served, without what the write does not reach."""
        found = self._found.get(api_version)
        if found is None:
            found = self._found[api_version] = self._compare(api_version)
        return found

    def _compare(self, api_version: str) -> Comparison:
        version, unreached = self.versions.find(api_version), self.versions.ignored(api_version)
        assert version is not None
        old = self.versions.shown(self._old, version) if self._old is not None else None
        before, now = _values(version, old, self.versions.shown(self._new, version), unreached)
        return compare(shape_of_version(version), before, now).excluding(unreached) if before is not now else SAME


def _values(version: Version, old: Any, new: Any, unreached: Fields) -> tuple[Any, Any]:
    """The JSON of two objects of a version, or of as much of it as tells them apart; of one twice when nothing does."""
    if old is None:
        return _empty(version), version.form.to_dict(new)
    if not version.form.has_message:
        return _whole(version, old), _whole(version, new)
    before, now = _differing(old, new, unreached)
    return (codec.to_dict(before), codec.to_dict(now)) if before is not None else (None, None)


def _empty(version: Version) -> Any:
    """The JSON of an object of which nothing is said yet: read it only."""
    return _empty_message(version) if version.form.has_message else version.form.to_dict(version.message())


@cache
def _empty_message(version: Version) -> Any:
    return version.form.to_dict(version.message())


def _whole(version: Version, obj: Any) -> Any:
    return {**version.form.to_dict(obj), "metadata": codec.to_dict(_own_metadata(obj.metadata))}


def _differing(old: Any, new: Any, unreached: Fields) -> tuple[Any, Any]:
    """Messages with nothing but the fields that differ; None and None when there are none."""
    before, now = type(old)(), type(new)()
    same = True
    for field in old.DESCRIPTOR.fields:
        name = field.name
        if name == "metadata":
            if old.metadata == new.metadata or (was := _own_metadata(old.metadata)) == (found := _own_metadata(new.metadata)):
                continue
            before.metadata.CopyFrom(was)
            now.metadata.CopyFrom(found)
        elif f"f:{field.json_name}" not in unreached and _differs(field, old, new):
            copy_field(name, before, old)
            copy_field(name, now, new)
        else:
            continue
        same = False
    return (None, None) if same else (before, now)


def _differs(field: FieldDescriptor, old: Any, new: Any) -> bool:
    name = field.name
    return bool(getattr(old, name) != getattr(new, name)) or (field.has_presence and old.HasField(name) != new.HasField(name))


def _own_metadata(metadata: Any) -> Any:
    """The metadata of which somebody is the owner."""
    own = copy_of(metadata)
    for name in NOBODYS:
        own.ClearField(name)
    return own
