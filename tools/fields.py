"""Writes docs/fields.md, what a person reads of services/apiserver/fields/support.tsv.

python -m tools.fields
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from services.apiserver.fields.table import HONOURED, REFUSED, WARNED, WHOLE, Row, Values, rows

PAGE = Path(__file__).resolve().parent.parent / "docs" / "fields.md"
HEAD = """# Fields whose behaviour does not exist yet

Knarr knows every field of the kinds that it serves; of {total} that a client may set in the kinds that something acts by, {honoured} are
honoured and stand in no table here.
None of the others is silently ignored. Written by `python -m tools.fields` from
[support.tsv](../services/apiserver/fields/support.tsv), by which the API server judges: change it there.

A field counts when a write sets it; what an object had before never keeps it from being changed. A field below a pod's spec counts in
the pod templates of workloads too. *When* names the values that are meant, others are honoured; nothing means any value.
"""
SECTIONS = (
    (
        (REFUSED,),
        "Refused",
        "Ignoring them would take protection away, or make something that can never work: 422 Invalid, with the field's path and these\n"
        "words.",
    ),
    ((WARNED,), "Warned about", "The object is stored with the field; the answer has a `Warning` header, which kubectl shows."),
)
KEPT = (
    "They are stored, served, defaulted and checked like all others. Creating one answers a `Warning` that says so, until something acts\n"
    "by them; a controller of your own may."
)


def page() -> str:
    """The page as it should be."""
    kept = [row for row in rows() if row.field == WHOLE]
    alone = {row.message for row in kept}
    told = [row for row in rows() if row.message not in alone]
    honoured = sum(row.state == HONOURED for row in told)
    parts = [HEAD.format(total=len({(row.message, row.field) for row in told}), honoured=honoured)]
    for states, title, words in SECTIONS:
        parts.append(f"## {title}\n\n{words}\n\n" + _table(row for row in told if row.state in states))
    lines = "".join(f"| {_kind(row)} | {row.words} |\n" for row in kept)
    parts.append(f"## Kinds that nothing acts by yet\n\n{KEPT}\n\n| kind | what does not happen |\n|---|---|\n{lines}")
    parts.append("## Honoured, with a remark\n\n" + _table(row for row in rows() if row.state == HONOURED and row.words))
    return "\n".join(parts)


def _table(found: Iterable[Row]) -> str:
    return "| fields | when | what happens |\n|---|---|---|\n" + "".join(_lines(found))


def _lines(found: Iterable[Row]) -> Iterator[str]:
    for (message, when, words), group in groupby(found, key=lambda row: (row.message, row.when, row.words)):
        owner = message.rpartition(".")[2]
        names = ", ".join(f"`{row.field}`" for row in group)
        yield f"| {owner}: {names} | {_shown(when)} | {words.format(value='…')} |\n"


def _kind(row: Row) -> str:
    """``StatefulSet (apps/v1)``, after the contract that the message is of."""
    *_, package, version, name = row.message.split(".")
    return f"{name} ({package}/{version})"


def _shown(when: Values) -> str:
    values = ", ".join(f"`{value}`" for value in sorted(when.listed))
    return f"not {values}" if when.others and values else values


if __name__ == "__main__":
    PAGE.write_text(page())
