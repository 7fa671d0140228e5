"""Compares what a server answered with a recorded answer whose placeholders match anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

PLACEHOLDER = re.compile(r"<[a-z0-9 ]+>")
# Differ from run to run, or are not recorded.
ANYTHING = ("continue", "description", "managedFields")


def differences(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """What differs, each as ``path: …``; nothing when the answers agree."""
    if isinstance(expected, str) and PLACEHOLDER.search(expected):
        yield from _placeholder(expected, actual, path)
    elif isinstance(expected, dict) and isinstance(actual, dict):
        for key in sorted(expected.keys() | actual.keys()):
            below = f"{path}.{key}"
            if key in ANYTHING:
                continue
            if key not in actual:
                yield f"{below}: expected {expected[key]!r}, got nothing"
            elif key not in expected:
                yield f"{below}: expected nothing, got {actual[key]!r}"
            else:
                yield from differences(expected[key], actual[key], below)
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, (left, right) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(left, right, f"{path}[{index}]")
    elif expected != actual or type(expected) is not type(actual):
        yield f"{path}: expected {expected!r}, got {actual!r}"


def _placeholder(expected: str, actual: Any, path: str) -> Iterator[str]:
    if expected.endswith(" item>"):
        if not isinstance(actual, list) or len(actual) != int(expected[1:].split()[0]):
            yield f"{path}: expected {expected}, got {actual!r}"
    elif PLACEHOLDER.fullmatch(expected):
        if actual in (None, ""):
            yield f"{path}: expected {expected}, got {actual!r}"
    elif not isinstance(actual, str) or not re.fullmatch(".+".join(re.escape(part) for part in PLACEHOLDER.split(expected)), actual):
        yield f"{path}: expected {expected!r}, got {actual!r}"
