"""Writes docs/pods.md, what becomes of each field of a pod: states from services/apiserver/fields/support.tsv, remarks from pods.tsv.

python -m tools.pods
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import Descriptor

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.schema import Field, descriptor_of, fields_of, form_of
from services.apiserver.fields.table import HONOURED, Row, Values, rows

PAGE = Path(__file__).resolve().parent.parent / "docs" / "pods.md"
FILE = Path(__file__).with_name("pods.tsv")
PACKAGE = "knarr.api.core.v1."
# What a pod only names or carries: pages of their own speak of it.
ELSEWHERE = frozenset(PACKAGE + name for name in ("PersistentVolumeClaimTemplate",))
HEAD = """# Every field of a pod

What becomes of each of the {total} fields of PodSpec, Container and their parts. Written by `python -m tools.pods` from
[support.tsv](../services/apiserver/fields/support.tsv), by which the API server judges, and the remarks in
[pods.tsv](../tools/pods.tsv): change it there.

*honoured*: somebody acts by it; *where* says who. *refused*: 422 Invalid, with the field's path and these words. *warned*: kept, not
acted by, and the answer says so. Where a state holds for some values only they stand beside it; other values are honoured. What stands
below a field that is refused or warned about for any value is not listed. An ephemeral container has the fields of a Container but
ports, probes, lifecycle, resources and restart policies, which the API server does not take there, and `targetContainerName`, the one
whose processes it sees.
"""


@dataclass(frozen=True, slots=True)
class Remark:
    """Who acts by a field, and one sentence about it."""

    where: str
    words: str


Place = tuple[str, str]


def remarks() -> dict[Place, Remark]:
    """By message and field. Raises ValueError for a field that stands there twice."""
    found: dict[Place, Remark] = {}
    with FILE.open(newline="") as file:
        for line in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            for field in line["fields"].split(" "):
                place = PACKAGE + line["message"], field
                if place in found:
                    raise ValueError(f"{line['message']}.{field} stands twice in {FILE.name}")
                found[place] = Remark(line["where"], line["remark"])
    return found


def states() -> Mapping[Place, Sequence[Row]]:
    """The rows of each field."""
    found: dict[Place, list[Row]] = defaultdict(list)
    for row in rows():
        found[row.message, row.field].append(row)
    return found


def parts() -> list[Descriptor]:
    """PodSpec and what stands below its fields, in the order in which a reader meets them."""
    known, found = states(), list[Descriptor]()

    def enter(message: Descriptor) -> None:
        if message in found or message.full_name in ELSEWHERE or not message.full_name.startswith(PACKAGE):
            return
        found.append(message)
        for field in fields_of(message):
            if field.message is not None and not form_of(field.message) and not _is_lost(known[message.full_name, field.json_name]):
                enter(field.message)

    enter(descriptor_of(core.PodSpec))
    return found


def _is_lost(found: Iterable[Row]) -> bool:
    """Whether nothing below it is looked at, whatever its value."""
    return any(row.state != HONOURED and row.when.any for row in found)


def page() -> str:
    """The page as it should be."""
    known, told, found = states(), remarks(), parts()
    text = [HEAD.format(total=sum(len(fields_of(message)) for message in found))]
    for message in found:
        lines = "".join(_lines(message, known, told))
        text.append(f"## {message.name}\n\n| field | state | where | remark |\n|---|---|---|---|\n{lines}")
    return "\n".join(text)


def _lines(message: Descriptor, known: Mapping[Place, Sequence[Row]], told: Mapping[Place, Remark]) -> Iterator[str]:
    for field in fields_of(message):
        place = message.full_name, field.json_name
        yield _line(field, known[place], told.get(place))


def _line(field: Field, found: Sequence[Row], remark: Remark | None) -> str:
    lost = [row for row in found if row.state != HONOURED]
    state = ", ".join(dict.fromkeys(f"{row.state} {_shown(row.when)}".strip() for row in lost)) or HONOURED
    words = [remark.words] if remark is not None else []
    words += [row.words.format(value="…") for row in found if row.words]
    where = remark.where if remark is not None else "API server"
    return f"| `{field.json_name}` | {state} | {where} | {'; '.join(dict.fromkeys(words))} |\n"


def _shown(when: Values) -> str:
    values = ", ".join(f"`{value}`" for value in sorted(when.listed))
    return f"for all but {values}" if when.others and values else f"for {values}" if values else ""


if __name__ == "__main__":
    PAGE.write_text(page())
