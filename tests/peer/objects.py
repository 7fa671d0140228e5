"""Objects to send: where they are created, and variations of them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from knarr.machinery.catalog import registry
from tests.peer.peers import Ask

SCENARIOS = Path(__file__).parents[1] / "apiserver" / "strategies" / "scenarios"
FOLDERS = ("defaults", "refused", "updates")
# 1.20 does not know the version that newer Kubernetes, and we, store it in.
STORED_NEWER = (
    "HorizontalPodAutoscaler", "EndpointSlice", "CronJob", "PodDisruptionBudget", "FlowSchema", "PriorityLevelConfiguration",
)  # fmt: skip
# What a value is replaced by: values of every JSON type, and those that limits are about.
REPLACEMENTS: tuple[Any, ...] = (
    None, "", "a", "A b", "-1", "x" * 300, "x/y/z", "10.0.0.300", 0, 1, -1, 70000, 2**31, 2**40, 1.5, True, [], ["a", "a"], {}, {"a": "b"},
)  # fmt: skip


def inputs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the scenario files, with a name to tell it by."""
    for folder in FOLDERS:
        for file in sorted((SCENARIOS / folder).glob("*.yaml")):
            for document in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
                for part in ("input", "old", "new"):
                    if part in document:
                        yield f"{folder}/{file.stem}: {document['name']} ({part})", json.loads(json.dumps(document[part], default=str))


def collection_of(obj: Mapping[str, Any]) -> str:
    """The path that an object is created at; raises KeyError for a kind that is not served."""
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    found = registry().named(group, version, str(obj["kind"]))
    if found is None:
        raise KeyError(obj["kind"])
    base = f"/apis/{group}/{version}" if group else f"/api/{version}"
    if not found.resource.namespaced:
        return f"{base}/{found.resource.plural}"
    return f"{base}/namespaces/{obj.get('metadata', {}).get('namespace') or 'default'}/{found.resource.plural}"


def create(obj: Mapping[str, Any]) -> Ask:
    """Creates an object and keeps nothing of it."""
    return Ask("POST", collection_of(obj), {"dryRun": "All"}, obj)


def variation(obj: Mapping[str, Any], rng: random.Random) -> tuple[str, dict[str, Any]]:
    """The object with one value removed or replaced, and what was done in words."""
    changed = copy.deepcopy(dict(obj))
    holder, key, path = rng.choice([place for place in _places(changed, "") if place[2] not in (".kind", ".apiVersion", ".metadata")])
    if rng.random() < 0.25:
        del holder[key]
        return f"without {path}", changed
    holder[key] = copy.deepcopy(rng.choice(REPLACEMENTS))
    return f"{path} = {json.dumps(holder[key])[:40]}", changed


def _places(value: Any, path: str) -> Iterator[tuple[Any, Any, str]]:
    pairs: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        here = f"{path}[{key}]" if isinstance(value, list) else f"{path}.{key}"
        yield value, key, here
        yield from _places(below, here)
