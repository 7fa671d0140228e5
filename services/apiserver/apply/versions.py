"""The versions of a kind as server-side apply looks at its objects: JSON, its shape, and what a write does not reach."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import orjson

from knarr.machinery.fieldsets.descriptors import shape_of
from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.fieldsets.shape import Shape
from knarr.machinery.object_forms import ObjectForm
from knarr.machinery.resources import Version
from knarr.machinery.schema import descriptor_of


class Unconverted(Exception):
    """An object is needed in another version, to which a webhook converts it. Who called gives it (``take``) and begins anew."""

    def __init__(self, known: Known, raw: bytes, source: Version, target: Version) -> None:
        super().__init__(f"an object of {source.api_version} is needed in {target.api_version}")
        self._known, self.raw, self.source, self.target = known, raw, source, target

    def take(self, raw: bytes) -> None:
        self._known.add(self.raw, self.target, raw)


class Known:
    """What has been converted so far for one write of an object that a webhook converts: bytes as they are kept, by those of before.
    The work on its managers is pure, and comes to the same questions each time that it is begun."""

    def __init__(self) -> None:
        self._found: dict[tuple[bytes, Version], bytes] = {}

    @classmethod
    def for_version(cls, version: Version) -> Known | None:
        """None where no webhook converts."""
        converter = version.resource.converter
        return cls() if converter is not None and converter.strategy == "Webhook" else None

    def add(self, raw: bytes, target: Version, found: bytes) -> None:
        self._found[raw, target] = found

    def converted(self, raw: bytes, source: Version, target: Version) -> bytes:
        """Raises Unconverted."""
        found = self._found.get((raw, target))
        if found is None:
            raise Unconverted(self, raw, source, target)
        return found


class ServedVersions:
    """The versions of the resource that ``version`` is of; ``unreached`` are the fields that writes through a sub-resource do not reach.

    Objects are given as they are stored, those of definitions with several versions as they are in ``version``; where a webhook converts,
    ``known`` has the others.
    """

    def __init__(self, version: Version, unreached: Fields, known: Known | None = None) -> None:
        self._version, self._resource, self._known = version, version.resource, known
        self._unreached = unreached

    def shape(self, api_version: str) -> Shape | None:
        version = self.find(api_version)
        return shape_of_version(version) if version is not None else None

    def ignored(self, api_version: str) -> Fields:
        return self._unreached

    def converted(self, value: Any, source: str, target: str) -> Any:
        if self._known is None:
            return self.value(self.message(value, source), target)
        old, new = self._served(source), self._served(target)
        # Of the metadata only this is asked about, and only two parts of the answer are taken.
        metadata = value.get("metadata") or {}
        asked = {name: item for name, item in metadata.items() if name not in ("resourceVersion", "managedFields")}
        api_version, kind = old.names
        raw = old.form.from_json({**value, "apiVersion": api_version, "kind": kind, "metadata": asked}).message.SerializeToString()
        found: dict[str, Any] = orjson.loads(self._known.converted(raw, old, new))
        given = found.get("metadata") or {}
        kept = {name: item for name, item in metadata.items() if name not in ("labels", "annotations")}
        found["metadata"] = {**kept, **{name: given[name] for name in ("labels", "annotations") if name in given}}
        return found

    def shown(self, obj: Any, target: Version) -> Any:
        """A given object in a version that is served."""
        if target is self._version and self._resource.converter is not None:
            return obj
        if self._known is None:
            return target.from_storage(obj) if self._resource.converter is None else obj
        return target.form.from_json(self.converted(self._version.form.to_dict(obj), self._version.api_version, target.api_version)).message

    def find(self, api_version: str) -> Version | None:
        """None for a version that there is not, or that a definition serves no more."""
        found = (version for version in self._resource.versions if version.api_version == api_version)
        return next((version for version in found if version.served or version.form.has_message), None)

    def value(self, obj: Any, api_version: str) -> Any:
        """The JSON of a stored object in a version that is served."""
        version = self._served(api_version)
        return version.form.to_dict(self.shown(obj, version))

    def message(self, value: Any, api_version: str) -> Any:
        """An object as it is stored, from its JSON in a version that is served; raises BadRequest for what is none."""
        version = self._served(api_version)
        # What is read without a message keeps parts of what it is read from.
        own = value if version.form.has_message else orjson.loads(orjson.dumps(value))
        return version.to_storage(version.form.from_json(own).message)

    def _served(self, api_version: str) -> Version:
        version = self.find(api_version)
        assert version is not None, api_version
        return version


def shape_of_version(version: Version) -> Shape:
    """The shape of a version's objects, made once."""
    return shape_of(descriptor_of(version.message)) if version.form.has_message else _custom_shape(version)


# They go with their versions.
_custom: WeakKeyDictionary[ObjectForm, Shape] = WeakKeyDictionary()


def _custom_shape(version: Version) -> Shape:
    found = _custom.get(version.form)
    if found is None:
        # What it stands on is only loaded by those who have custom resources.
        from knarr.machinery.fieldsets.structural import shape_of_objects

        found = _custom[version.form] = shape_of_objects(version.form.schema)  # type: ignore[attr-defined]
    return found
