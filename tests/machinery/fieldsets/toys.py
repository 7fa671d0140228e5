"""A small schema that has everything: a struct in a struct, maps, lists by one and two keys, sets, atomic ones; and objects of it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from knarr.machinery.fieldsets.fields import Fields
from knarr.machinery.fieldsets.managers import Managed, Manager, Owned
from knarr.machinery.fieldsets.members import everything
from knarr.machinery.fieldsets.shape import ATOMIC_LIST, DEDUCED, NUMERIC, STRING, Shape

PORT = Shape("map", fields=lambda: {"number": NUMERIC, "protocol": STRING, "name": STRING})
PORTS = Shape("list", keys=("number", "protocol"), key_defaults={"protocol": "TCP"}, element=PORT)
LIMITS = Shape("map", element=STRING)
ITEM = Shape("map", fields=lambda: {"name": STRING, "value": STRING, "ports": PORTS, "limits": LIMITS})
ITEMS = Shape("list", keys=("name",), element=ITEM)
SET = Shape("list", element=STRING)
WHOLE = Shape("map", atomic=True, element=STRING)
SPEC = Shape(
    "map",
    fields=lambda: {
        "size": NUMERIC,
        "items": ITEMS,
        "names": SET,
        "whole": WHOLE,
        "args": ATOMIC_LIST,
        "labels": LIMITS,
        "any": DEDUCED,
    },
)
TOY = Shape("map", fields=lambda: {"spec": SPEC, "status": LIMITS})

_word = st.sampled_from(["a", "b", "c"])
_map = st.dictionaries(_word, _word, max_size=3)


def _struct(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def _unique(elements: st.SearchStrategy[Any], key: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(elements, max_size=3, unique_by=key)


_port = st.builds(
    lambda number, rest: {"number": number, **rest}, st.integers(1, 2), _struct(protocol=st.sampled_from(["TCP", "UDP"]), name=_word)
)
_item = st.builds(
    lambda name, rest: {"name": name, **rest},
    _word,
    _struct(value=_word, ports=_unique(_port, lambda port: (port["number"], port.get("protocol", "TCP"))), limits=_map),
)
_spec = _struct(
    size=st.integers(0, 2),
    items=_unique(_item, lambda item: item["name"]),
    names=_unique(_word, lambda word: word),
    whole=_map,
    args=st.lists(_word, max_size=2),
    labels=_map,
    any=st.one_of(_map, st.lists(_word, max_size=2), _word),
)
# Objects as they may be applied.
objects = _struct(spec=_spec, status=_map)


class Sole:
    """One version, in which nothing is ignored."""

    def __init__(self, shape: Shape = TOY) -> None:
        self._shape = shape

    def shape(self, api_version: str) -> Shape | None:
        return self._shape if api_version == "v1" else None

    def ignored(self, api_version: str) -> Fields:
        return {}

    def converted(self, value: Any, source: str, target: str) -> Any:
        raise AssertionError("there is one version")


def has_anything_at(value: Any, path: tuple[str, ...]) -> bool:
    """Whether an object has a value at the path of a field."""
    node: Fields | None = everything(TOY, value)
    for element in path:
        node = node.get(element) if node is not None else None
    return node is not None


def owners(managed: Managed) -> dict[str, Fields]:
    """By name: what each owns."""
    return {manager.name: owned.fields for manager, owned in managed.items()}


def owner(name: str, operation: str = "Apply") -> Manager:
    return Manager(name, operation, "" if operation == "Apply" else "v1")


def owning(fields: Fields, seconds: int | None = 1) -> Owned:
    return Owned("v1", seconds, fields=fields)
