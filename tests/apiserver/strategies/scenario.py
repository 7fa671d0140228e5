"""Golden scenarios: YAML documents with an input, and what the strategies make of it.

``pytest --rewrite tests/apiserver/strategies`` writes what they make of it now into the files;
read the difference before you commit it.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.machinery import codec
from knarr.machinery.catalog import registry
from knarr.machinery.errors import Cause
from knarr.machinery.resources import Version
from services.apiserver.strategies import Strategy, strategy_for
from services.apiserver.strategies.metadata import validate_object_meta, validate_object_meta_update
from tests.support import golden

SCENARIOS = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Subject:
    """A decoded manifest with its kind and strategy; defaults are filled in on request."""

    version: Version
    strategy: Strategy
    obj: Any

    @classmethod
    def of(cls, manifest: dict[str, Any]) -> Subject:
        group, _, version = manifest["apiVersion"].rpartition("/")
        found = registry().named(group, version, manifest["kind"])
        assert found is not None, manifest["kind"]
        obj: Any = found.to_storage(codec.from_json(found.message, manifest, codec.UnknownFields.REJECT).message)
        if found.resource.namespaced and not obj.metadata.namespace:
            obj.metadata.namespace = "default"
        return cls(found, strategy_for(found), obj)

    def created(self) -> Subject:
        self.strategy.default(self.obj)
        self.strategy.prepare_for_create(self.obj)
        return self

    def causes(self) -> list[Cause]:
        metadata = validate_object_meta(
            self.obj.metadata, namespaced=self.version.resource.namespaced, name_format=self.strategy.name_format
        )
        return metadata + self.strategy.validate(self.obj) + self.strategy.validate_create(self.obj)

    def updated_from(self, old: Subject) -> list[Cause]:
        """Prepares the object as an update of ``old`` and says what is wrong with it."""
        self.strategy.default(self.obj)
        self.strategy.prepare_for_update(self.obj, old.obj)
        causes = validate_object_meta_update(self.obj.metadata, old.obj.metadata)
        return causes + self.strategy.validate(self.obj) + self.strategy.validate_update(self.obj, old.obj)

    def shown(self) -> dict[str, Any]:
        """The object as JSON without what every object has."""
        found = codec.to_dict(self.obj)
        found["metadata"].pop("creationTimestamp", None)
        return found


def causes_shown(causes: list[Cause]) -> list[dict[str, str]]:
    return [{"field": str(cause.field), "reason": cause.reason, "message": cause.message} for cause in causes]


@functools.cache
def documents_of(file: Path) -> list[dict[str, Any]]:
    return list(yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader))


def scenarios(folder: str) -> list[Any]:
    """A pytest parameter (file, position) for every document of a folder."""
    return [
        pytest.param(file, position, id=f"{file.stem}: {document['name']}")
        for file in sorted((SCENARIOS / folder).glob("*.yaml"))
        for position, document in enumerate(documents_of(file))
    ]


def check(file: Path, position: int, run: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Runs one document and compares, or rewrites, the keys that ``run`` answers."""
    documents = documents_of(file)
    document = documents[position]
    got = run(copy.deepcopy(document))
    if golden.rewriting and any(document.get(key) != value for key, value in got.items()):
        documents[position] = {**document, **got}
        file.write_text(yaml.safe_dump_all(documents, sort_keys=False, width=1000, allow_unicode=True))
        return
    assert {key: document.get(key) for key in got} == got
