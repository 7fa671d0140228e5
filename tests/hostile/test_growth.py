"""Nothing that the API server does with a body grows faster than the body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from knarr.machinery import codec
from knarr.machinery.catalog import BUILT_IN
from knarr.machinery.codec import UnknownFields
from knarr.machinery.errors import StatusError
from knarr.machinery.patches import json_patch, merge, strategic
from knarr.machinery.resources import Version
from knarr.machinery.schema import descriptor_of
from knarr.machinery.selectors import parse_field_selector, parse_label_selector
from knarr.machinery.yaml_text import yaml_documents
from knarr.objects.copies import copy_of
from services.apiserver.backend import serialize
from services.apiserver.fields.judge import judge
from services.apiserver.rest.response import warning_headers
from services.apiserver.results import Ref
from services.apiserver.strategies import strategy_for
from services.apiserver.strategies.metadata import validate_object_meta, validate_object_meta_update
from services.apiserver.strategies.strategy import Strategy
from tests.hostile.growth import is_super_linear
from tests.hostile.objects import Place, filled, places

pytestmark = pytest.mark.hostile

VERSIONS = [version for resource in BUILT_IN for version in resource.versions]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def name_of(place: Place) -> str:
    return ".".join(field.json_name for field in place)


def worth_a_look(version: Version) -> list[Place]:
    """Pods stand for their templates; what a type of metadata holds is looked at once, on ConfigMaps."""
    found = []
    for place in places(descriptor_of(version.message)):
        inner = [field.message.name for field in place if field.message is not None]
        if "PodTemplateSpec" in inner[:-1] or ("ObjectMeta" in inner[:-1] and version.kind != "ConfigMap"):
            continue
        found.append(place)
    return found


def steps(strategy: Strategy, ref: Ref, new: Any, old: Any) -> list[Callable[[], object]]:
    namespaced = ref.resource.namespaced
    return [
        lambda: strategy.prepare_for_create(new),
        lambda: validate_object_meta(new.metadata, namespaced=namespaced, name_format=strategy.name_format),
        lambda: strategy.validate(new),
        lambda: strategy.validate_create(new),
        lambda: judge(ref, new),
        lambda: warning_headers(strategy.warnings(new)),
        lambda: strategy.prepare_for_update(new, old),
        lambda: strategy.validate_update(new, old),
        lambda: validate_object_meta_update(new.metadata, old.metadata),
        lambda: strategy.prepare_for_status_update(new, old),
        lambda: strategy.validate_status_update(new, old),
        lambda: judge(ref, new, old),
        lambda: strategy.cells(new, NOW),
        lambda: serialize(new),
    ]


def served(version: Version, obj: Any) -> Callable[[], None]:
    """Everything that happens to an object between its body and its answer, refusals included."""
    text = codec.to_json(obj, version.names)
    patch = orjson.loads(text)
    strategy = strategy_for(version)
    storage = version.resource.storage
    ref = Ref(storage, obj.metadata.namespace, obj.metadata.name)

    def work() -> None:
        try:
            new: Any = version.to_storage(codec.from_json(version.message, text, UnknownFields.REJECT).message)
        except StatusError:
            return
        strategy.default(new)
        old = copy_of(new)
        for step in steps(strategy, ref, new, old):
            with suppress(StatusError):
                step()
        with suppress(StatusError):
            strategic.apply(version.message, patch, {name: value for name, value in patch.items() if name not in ("kind", "apiVersion")})
        merge.apply(patch, patch)

    return work


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version.group}-{version.version}-{version.kind}")
def test_no_list_or_map_of_any_kind_is_worked_on_super_linearly(version: Version) -> None:
    bad = {
        name_of(place): ratio
        for place in worth_a_look(version)
        if (ratio := is_super_linear(lambda count, place=place: served(version, filled(version, place, count))))  # type: ignore[misc]
    }
    assert not bad


def yaml_of(count: int) -> str:
    return "a: &a {b: c}\n" + "".join(f"k{number}: [x{number}, *a]\n" for number in range(count))


def strategic_of(name: str, change: Callable[[int], Any]) -> Callable[[int], Callable[[], object]]:
    def prepare(count: int) -> Callable[[], object]:
        elements: Sequence[Any] = [{"name": f"n{number}", "image": "x"} for number in range(count)]
        original = {"spec": {name: list(elements)}, "metadata": {"finalizers": [f"a/{number}" for number in range(count)]}}
        patch = change(count)
        version = next(version for version in VERSIONS if version.kind == "Pod")

        def work() -> None:
            with suppress(StatusError):
                strategic.apply(version.message, original, patch)

        return work

    return prepare


def named(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"name": f"n{number}", **more} for number in range(count)]


PATCHES: dict[str, Callable[[int], Any]] = {
    "new elements": lambda count: {"spec": {"containers": [{"name": f"m{number}"} for number in range(count)]}},
    "same elements": lambda count: {"spec": {"containers": named(count)}},
    "reverse elements": lambda count: {"spec": {"containers": named(count)[::-1]}},
    "deletes": lambda count: {"spec": {"containers": named(count, **{"$patch": "delete"})}},
    "order": lambda count: {"spec": {"containers": named(count), "$setElementOrder/containers": named(count)}},
    "order alone": lambda count: {"spec": {"$setElementOrder/containers": named(count)[::-1]}},
    "finalizers": lambda count: {"metadata": {"finalizers": [f"b/{number}" for number in range(count)]}},
    "finalizers deleted": lambda count: {"metadata": {"$deleteFromPrimitiveList/finalizers": [f"a/{number}" for number in range(count)]}},
    "finalizers ordered": lambda count: {"metadata": {"$setElementOrder/finalizers": [f"a/{number}" for number in range(count)[::-1]]}},
    "retained keys": lambda count: {"$retainKeys": [f"a{n}" for n in range(count)], **{f"a{n}": 1 for n in range(count)}},
}


@pytest.mark.parametrize("change", PATCHES.values(), ids=PATCHES)
def test_strategic_merges_are_linear(change: Callable[[int], Any]) -> None:
    assert not is_super_linear(strategic_of("containers", change))


def operations(count: int, make: Callable[[int], dict[str, Any]]) -> Callable[[], object]:
    patch = [make(number) for number in range(count)]
    original = {"data": {f"k{number}": "x" for number in range(count)}, "list": ["x"] * count}

    def work() -> None:
        with suppress(StatusError):
            json_patch.apply(original, patch)

    return work


OPERATIONS: dict[str, Callable[[int], dict[str, Any]]] = {
    "test the whole": lambda number: {"op": "test", "path": "", "value": {}},
    "test a list": lambda number: {"op": "test", "path": "/list", "value": ["x"]},
    "copy a list": lambda number: {"op": "copy", "from": "/list", "path": f"/data/c{number}"},
    "copy the whole": lambda number: {"op": "copy", "from": "", "path": f"/data/c{number}"},
    "move": lambda number: {"op": "move", "from": f"/data/k{number}", "path": f"/data/m{number}"},
    "add": lambda number: {"op": "add", "path": "/list/0", "value": "x"},
    "remove": lambda number: {"op": "remove", "path": "/list/0"},
}


@pytest.mark.parametrize("make", OPERATIONS.values(), ids=OPERATIONS)
def test_json_patches_are_linear(make: Callable[[int], dict[str, Any]]) -> None:
    assert not is_super_linear(lambda count: operations(count, make), first=150, second=1000)


def quietly(function: Callable[[Any], object], value: Any) -> Callable[[], object]:
    def work() -> None:
        with suppress(StatusError, ValueError):
            function(value)

    return work


TEXTS: dict[str, Callable[[int], Callable[[], object]]] = {
    "yaml": lambda count: quietly(yaml_documents, yaml_of(count)),
    "yaml, repeated keys": lambda count: quietly(yaml_documents, "a: 1\n" * count),
    "yaml, merges": lambda count: quietly(yaml_documents, "a: &a {b: c}\n" + "c: {<<: *a}\n" * count),
    "yaml, merges in one": lambda count: quietly(yaml_documents, f"a: &a {{b: c}}\nd: {{{'<<: *a, ' * count}}}"),
    "yaml, anchors": lambda count: quietly(yaml_documents, "".join(f"k{n}: &k{n} x\n" for n in range(count))),
    "yaml, documents": lambda count: quietly(yaml_documents, "---\na: b\n" * count),
    "yaml, directives": lambda count: quietly(yaml_documents, "".join(f"%TAG !a{n}! x\n" for n in range(count)) + "---\na: b\n"),
    "yaml, a long scalar": lambda count: quietly(yaml_documents, "a: " + "9" * count * 50),
    "yaml, flow": lambda count: quietly(yaml_documents, "[" * count),
    "labels": lambda count: quietly(parse_label_selector, "a in (" + ",".join(f"x{n}" for n in range(count)) + ")"),
    "labels, many": lambda count: quietly(parse_label_selector, ",".join(f"x{n}" for n in range(count))),
    "labels, blank": lambda count: quietly(parse_label_selector, " " * count * 20 + "!"),
    "fields": lambda count: quietly(parse_field_selector, ",".join(f"a{n}=b" for n in range(count))),
    "fields, no sign": lambda count: quietly(parse_field_selector, "a!" * count),
    "fields, escapes": lambda count: quietly(parse_field_selector, "a=" + "\\\\" * count * 10),
}


@pytest.mark.parametrize("prepare", TEXTS.values(), ids=TEXTS)
def test_texts_are_read_in_linear_time(prepare: Callable[[int], Callable[[], object]]) -> None:
    assert not is_super_linear(prepare, first=1000, second=4000)
