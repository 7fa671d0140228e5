"""Patches of each kind that no client would write: odd pointers, directives where they mean nothing, sets of fields that cannot be."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]

POINTER_PARTS = ("-", "0", "00", "-1", "1e1", "99999999999999999999", "~", "~0", "~1", "~2", "", " ", "a/b", "é", "\ud83d", "x" * 200)
OPERATIONS = ("add", "remove", "replace", "move", "copy", "test", "", "ADD", None, 1)
DIRECTIVES = ("$patch", "$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys")
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e400, 2**63, 2**64, -(2**70), "", "a", "\x00", "\ud83d", "x" * 1000, [], {}, [[]], [{}], [None], {"": None},
    {"a": {"a": {"a": {}}}}, "delete", "replace", "merge", ["a", "a"], [{"name": "a"}, {"name": "a"}], [{"$patch": "delete"}],
)  # fmt: skip


def value(rng: random.Random, *others: Any) -> Any:
    return copy.deepcopy(rng.choice([*VALUES, *others]))


def places(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value of an object."""
    yield path
    pairs: Any = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, below in pairs:
        yield from places(below, (*path, key))


def json_patch(obj: Json, rng: random.Random) -> Any:
    ways = list(places(obj))

    def pointer() -> Any:
        parts = [str(part).replace("~", "~0").replace("/", "~1") for part in rng.choice(ways)]
        for _ in range(rng.randrange(3)):
            parts.insert(rng.randrange(len(parts) + 1), rng.choice(POINTER_PARTS))
        found = "/" + "/".join(parts)
        return rng.choice([found, found, found, found[1:], found + "/", "", None, 1, parts])

    def operation() -> Any:
        made = {"op": rng.choice(OPERATIONS[:6] * 5 + OPERATIONS), "path": pointer(), "from": pointer(), "value": value(rng)}
        for key in [key for key in made if rng.random() < 0.1]:
            del made[key]
        return rng.choice([made] * 20 + [None, "x", [made]])

    return rng.choice([[operation() for _ in range(rng.randrange(4))]] * 20 + [{}, None, operation()])


def strategic_patch(obj: Json, rng: random.Random) -> Any:
    """Parts of the object, with directives where they mean something and where they do not."""
    made = copy.deepcopy(obj)
    for _ in range(rng.randrange(1, 5)):
        owner, key = _holder(made, rng)
        if isinstance(owner, dict):
            directive = rng.choice(DIRECTIVES)
            name = directive + (str(key) if directive.endswith("/") else "")
            owner[rng.choice([name, name, directive, str(key)])] = value(rng, ["name", "image", key], [{"name": "c"}, {"name": "zz"}])
        elif isinstance(owner, list):
            owner.insert(rng.randrange(len(owner) + 1), value(rng, {"$patch": "replace"}, {"name": "c", "$patch": "delete"}))
    return made


def applied(obj: Json, rng: random.Random) -> Any:
    """The object with values of other types, keys that come twice, and keys of lists that are missing or null."""
    made = copy.deepcopy(obj)
    made.get("metadata", {}).pop("managedFields", None)
    for _ in range(rng.randrange(1, 4)):
        owner, key = _holder(made, rng)
        if isinstance(owner, dict):
            owner[rng.choice([key, key, "", "name", "é"])] = value(rng)
        elif isinstance(owner, list):
            owner += rng.choice([[copy.deepcopy(one) for one in owner], [{}], [None], [value(rng)]])
    return made


def fields(obj: Json, rng: random.Random) -> Any:
    """The object with the memory of who wrote what of it made up."""
    made = copy.deepcopy(obj)
    keys = ("f:metadata", "f:", ".", "k:{}", 'k:{"name":"c"}', "k:{", 'k:{"name":null}', "v:1", "v:", "i:0", "i:x", "f:spec", "x", "")
    tree: Any = {}
    for _ in range(rng.randrange(6)):
        tree = {rng.choice(keys): rng.choice([tree, {}, None, "x"])}
    entry = {
        "manager": rng.choice(["a", "", "x" * 200]), "operation": rng.choice(["Apply", "Update", "x", ""]),
        "apiVersion": rng.choice([obj.get("apiVersion"), "v9", "", "a/b/c"]), "time": rng.choice(["2026-01-01T00:00:00Z", "x", None]),
        "fieldsType": rng.choice(["FieldsV1", "x"]), "fieldsV1": tree, "subresource": rng.choice(["", "status", "x"]),
    }  # fmt: skip
    made.setdefault("metadata", {})["managedFields"] = rng.choice([[entry], [entry, entry], [{}], [None], []])
    return made


def _holder(made: Any, rng: random.Random) -> tuple[Any, Any]:
    """A dict or list somewhere inside, and one of its keys."""
    ways = [way for way in places(made) if way]
    if not ways:
        return made, "a"
    way = rng.choice(ways)
    owner = made
    for part in way[:-1]:
        owner = owner[part]
    return owner, way[-1]


def torn(data: bytes, rng: random.Random) -> bytes:
    """Bytes of a message with some of them changed, left out or repeated."""
    made = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(made) + 1)
        choice = rng.randrange(4)
        if choice == 0 and at < len(made):
            made[at] = rng.randrange(256)
        elif choice == 1:
            del made[at : at + rng.randrange(1, 8)]
        elif choice == 2:
            made[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 8)))
        else:
            made[at:at] = made[at : at + rng.randrange(1, 20)]
    return bytes(made)


APPLY, JSON_PATCH = "application/apply-patch+yaml", "application/json-patch+json"
STRATEGIC, MERGE, JSON = "application/strategic-merge-patch+json", "application/merge-patch+json", "application/json"
MAKERS: tuple[tuple[str, str, Callable[[Json, random.Random], Any]], ...] = (
    ("PATCH", JSON_PATCH, json_patch),
    ("PATCH", STRATEGIC, strategic_patch),
    ("PATCH", MERGE, strategic_patch),
    ("PATCH", APPLY, applied),
    ("PATCH", APPLY, strategic_patch),
    ("PATCH", MERGE, fields),
    ("PUT", JSON, fields),
)


def text(made: Any) -> bytes:
    return json.dumps(made).encode(errors="surrogatepass")
