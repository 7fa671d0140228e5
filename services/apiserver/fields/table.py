"""``support.tsv``: which state each field of the served kinds is in.

| state | what becomes of the field |
|---|---|
| honoured | something acts by it, or it is information that is kept and shown |
| warned | it is kept and not acted by, which is harmless; the answer has a warning |
| refused | ignoring it would take protection away, or the object could never work: 422, the cause names the field |

A row speaks of one or more fields of a message, by their JSON names, and may hold for some values only (``when``); other values
are honoured then. ``*`` are all fields of a kind but its metadata: those of a kind that is kept before anything acts by it. What
stands below a field that is not honoured is not listed: nobody looks there. ``docs/fields.md`` is written from it
(``python -m tools.fields``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HONOURED, WARNED, REFUSED = STATES = ("honoured", "warned", "refused")
WHOLE = "*"
PACKAGE = "knarr.api."
FILE = Path(__file__).with_name("support.tsv")


@dataclass(frozen=True, slots=True)
class Values:
    """Some values of a scalar, or keys of a map: those listed, or (``others``) all but those. None listed and ``others``: any."""

    listed: frozenset[str] = frozenset()
    others: bool = True

    @classmethod
    def parse(cls, text: str) -> Values:
        """``a,b``, ``!a,b`` or nothing, which is any."""
        return cls(frozenset(text.removeprefix("!").split(",")), text.startswith("!")) if text else cls()

    def __contains__(self, text: object) -> bool:
        return (text in self.listed) != self.others

    @property
    def any(self) -> bool:
        return self.others and not self.listed


@dataclass(frozen=True, slots=True)
class Row:
    """One field's state. ``message`` is a full name in protobuf, ``words`` say what happens instead, and the way out."""

    message: str
    field: str
    state: str
    when: Values
    words: str


@cache
def rows() -> tuple[Row, ...]:
    """All of them, in the order of the file."""
    with FILE.open(newline="") as file:
        return tuple(_read(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)))


@cache
def _by_field() -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows():
        found.setdefault((row.message, row.field), []).append(row)
    return found


def rows_of(message: str, field: str) -> Sequence[Row]:
    """What is said of one field, in the order of the file."""
    return _by_field().get((message, field), ())


def _read(lines: Iterable[dict[str, str]]) -> Iterator[Row]:
    for line in lines:
        for field in line["fields"].split(" "):
            yield Row(PACKAGE + line["message"], field, line["state"], Values.parse(line["when"]), line["words"])
