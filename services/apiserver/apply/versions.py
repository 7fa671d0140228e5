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


class ServedVersions:
    """The versions of the resource that ``version`` is of; ``unreached`` are the fields that writes through a sub-resource do not reach."""

    def __init__(self, version: Version, unreached: Fields) -> None:
        self._resource = version.resource
        self._unreached = unreached

    def shape(self, api_version: str) -> Shape | None:
        version = self.find(api_version)
        return shape_of_version(version) if version is not None else None

    def ignored(self, api_version: str) -> Fields:
        return self._unreached

    def converted(self, value: Any, source: str, target: str) -> Any:
        return self.value(self.message(value, source), target)

    def find(self, api_version: str) -> Version | None:
        """None for a version that there is not, or that a definition serves no more."""
        found = (version for version in self._resource.versions if version.api_version == api_version)
        return next((version for version in found if version.served or version.form.has_message), None)

    def value(self, obj: Any, api_version: str) -> Any:
        """The JSON of a stored object in a version that is served."""
        version = self._served(api_version)
        return version.form.to_dict(version.from_storage(obj))

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
