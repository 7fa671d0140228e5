"""JSONPath as the columns of definitions use it."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.machinery.custom.jsonpath import JsonPath, fields_of, is_simple, text_of

OBJECT = {
    "metadata": {"name": "n", "annotations": {"a.b/c": "x"}},
    "status": {"conditions": [{"type": "Ready", "status": "True", "count": 3}, {"type": "Old", "status": "False"}], "list": [1, 2, 3]},
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (".metadata.name", ["n"]),
        ("metadata.name", ["n"]),
        (".missing.name", []),
        (r".metadata.annotations.a\.b/c", ["x"]),
        (".metadata.annotations['a.b/c']", ["x"]),
        (".status.list[0]", [1]),
        (".status.list[-1]", [3]),
        (".status.list[7]", []),
        (".status.conditions[].type", ["Ready"]),
        (".status.list[1:]", [2, 3]),
        (".status.list[*]", [1, 2, 3]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Old')].status", ["False"]),
        (".status.conditions[?(@.count>=3)].type", ["Ready"]),
        (".status.conditions[?(@.count)].type", ["Ready"]),
        (".status.conditions[*].type", ["Ready", "Old"]),
        ("..type", ["Ready", "Old"]),
        (".", [OBJECT]),
    ],
)
def test_find(path: str, values: list[Any]) -> None:
    assert JsonPath(path).find(OBJECT) == values


@pytest.mark.parametrize("path", [".a[", ".a[?(@.b==)]", ".a..", ".a[-]", "." + "a" * 2000, ".a[0:1:0]"])
def test_refused(path: str) -> None:
    with pytest.raises(ValueError):
        JsonPath(path)


def test_simple_paths() -> None:
    assert is_simple(".spec.replicas") and fields_of(r".a\.b.c") == ["a.b", "c"]
    assert not any(map(is_simple, ("spec", ".a[0]", ".a[*]", "", ".a..b")))


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (3, "3"), ("x", "x"), ({"b": 1, "a": [2]}, '{"a":[2],"b":1}'), (None, "")])
def test_text(value: Any, text: str) -> None:
    assert text_of(value) == text
