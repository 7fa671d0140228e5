"""The markers by which scripts/test.sh finds the tests of its lanes without importing all others: each stands in the file of its tests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Protocol

LANES = frozenset({"docker", "cluster", "compose", "net"})


class Marked(Protocol):
    """As much of a test as is asked for here."""

    @property
    def path(self) -> Path: ...

    def iter_markers(self) -> Iterable[HasName]: ...


class HasName(Protocol):
    @property
    def name(self) -> str: ...


def hidden(items: Iterable[Marked]) -> set[str]:
    """What is wrong: files of which some test has a marker that only another file names, so that its lane would not ask it."""
    return {
        f"{item.path}: a test has the marker {name}, and the file does not say mark.{name}; scripts/test.sh looks for it there"
        for item in items
        for name in LANES & {marker.name for marker in item.iter_markers()} - named(item.path)
    }


@cache
def named(path: Path) -> frozenset[str]:
    """The markers that a file of tests says by name."""
    return frozenset(re.findall(r"mark\.(\w+)", path.read_text()))
