"""No object, however odd, makes a strategy raise: a protobuf body can say anything."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from knarr.machinery.catalog import registry
from knarr.machinery.resources import Version
from services.apiserver.strategies import strategy_for
from services.apiserver.strategies.metadata import validate_object_meta, validate_object_meta_update

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ("", "a", "x/y", "A b", "None", "..", "10.0.0.1", "50%", "500m", "1Gi", "Always", "RollingUpdate", "ClusterIP", "In", "-")
NUMBERS = (0, 1, -1, 80, 70000, 2**31 - 1, -(2**31))
DEEPEST = 9


def filled(message: Any, source: random.Random, depth: int = 0) -> Any:
    """Sets some of the fields, also in the messages below, to something."""
    for field in message.DESCRIPTOR.fields:
        if source.random() < 0.35 or depth > DEEPEST:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(getattr(message, field.name), field.message_type, source, depth)
        elif field.is_repeated:
            for _ in range(source.randrange(3)):
                if field.message_type is not None:
                    filled(getattr(message, field.name).add(), source, depth + 1)
                else:
                    getattr(message, field.name).append(_scalar(field, source))
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            filled(getattr(message, field.name), source, depth + 1)
        else:
            setattr(message, field.name, _scalar(field, source))
    return message


def _fill_map(entries: Any, entry_type: Any, source: random.Random, depth: int) -> None:
    value = entry_type.fields_by_name["value"]
    for key in source.sample(WORDS, source.randrange(3)):
        if value.message_type is not None:
            filled(entries[key], source, depth + 1)
        else:
            entries[key] = _scalar(value, source)


def _scalar(field: Any, source: random.Random) -> Any:
    if field.type == field.TYPE_STRING:
        return source.choice(WORDS)
    if field.type == field.TYPE_BYTES:
        return source.choice(WORDS).encode()
    return source.random() < 0.5 if field.type == field.TYPE_BOOL else source.choice(NUMBERS)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("version", registry().versions, ids=lambda version: version.kind)
def test_nothing_is_raised(version: Version, seed: int) -> None:
    source = random.Random(seed)
    strategy, old, new = (
        strategy_for(version),
        filled(version.resource.storage.message(), source),
        filled(version.resource.storage.message(), source),
    )
    strategy.default(old)
    strategy.prepare_for_create(old)
    strategy.default(new)
    strategy.prepare_for_update(new, old)
    validate_object_meta(new.metadata, namespaced=version.resource.namespaced, name_format=strategy.name_format)
    validate_object_meta_update(new.metadata, old.metadata)
    for causes in (strategy.validate(new), strategy.validate_update(new, old), strategy.validate_status_update(new, old)):
        assert all(cause.message for cause in causes)
    strategy.warnings(new)
    assert set(strategy.selectable_fields(new)) == set(strategy.selectable_field_names)
    assert len(strategy.cells(new, NOW)) == len(strategy.columns)
    strategy.prepare_for_status_update(new, old)
