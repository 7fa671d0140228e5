"""Judges an object by the list: what it asks for that is not done here becomes causes or warnings, by name.

The walk is compiled once per message type and enters only what can hold such a field. A field counts when a write sets it: what an
object had before stays as it is, so that stored objects can be changed whatever the list says by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor

from knarr.machinery.custom.objects import CustomObject
from knarr.machinery.errors import Cause
from knarr.machinery.schema import Field, descriptor_of, fields_of, is_object
from knarr.machinery.validation import Path, forbidden
from services.apiserver.fields.table import HONOURED, REFUSED, WARNED, WHOLE, Row, rows_of
from services.apiserver.results import Ref


class Finding(NamedTuple):
    """A field that is set: the way to it, the innermost part first (names, positions, keys), and what the list says."""

    way: tuple[str | int, ...]
    row: Row
    value: str

    @property
    def path(self) -> Path:
        path = Path("")
        for part in reversed(self.way):
            path = path.index(part) if isinstance(part, int) else path.key(part[1:]) if part.startswith("[") else path.child(part)
        return path

    def under(self, *parts: str | int) -> Finding:
        return self._replace(way=(*self.way, *parts))

    @property
    def place(self) -> tuple[object, ...]:
        """The same for a field whose list was reordered."""
        return (self.row, *(part for part in self.way if not isinstance(part, int)))


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why a write is refused, and what a person should hear of one that is not."""

    causes: Sequence[Cause] = ()
    warnings: Sequence[str] = ()


NOTHING = Judgement()
NONE: Sequence[Finding] = ()
# So many fields are asked for one by one faster than all that are set are listed.
FEW = 8
# Of a message, or of one field's value: what of it is not done here.
Walk = Callable[[Any], Sequence[Finding]]

_walks: dict[str, Walk | None] = {}
# Large bodies are worked on in a thread of their own: what is half made is nobody else's.
_making: set[str] = set()
_lock = RLock()


def judge(ref: Ref, new: Any, old: Any | None = None) -> Judgement:
    """What is to be said of the fields that ``new`` sets and ``old``, if there is one, does not."""
    if isinstance(new, CustomObject):
        return NOTHING  # what its fields mean is its owner's affair
    walk = _walk_of(descriptor_of(new))
    found = walk(new) if walk is not None else NONE
    if not found:
        return NOTHING
    if old is not None and walk is not None:
        found = _added(found, walk(old))
    return Judgement(
        causes=[forbidden(finding.path, finding.row.words) for finding in found if finding.row.state == REFUSED],
        warnings=[_warning(ref, finding) for finding in found if finding.row.state == WARNED],
    )


def _warning(ref: Ref, finding: Finding) -> str:
    if finding.row.field == WHOLE:
        return f"{ref.version.kind} is kept, but nothing acts by it yet: {finding.row.words}"
    return f"{finding.path}: {finding.row.words}"


def _added(new: Iterable[Finding], old: Iterable[Finding]) -> list[Finding]:
    known = Counter(finding.place for finding in old)
    added = []
    for finding in new:
        if known[finding.place] > 0:
            known[finding.place] -= 1
        else:
            added.append(finding)
    return added


def _walk_of(descriptor: Descriptor) -> Walk | None:
    name = descriptor.full_name
    if name not in _walks:
        with _lock:
            if name in _making:
                return None  # a type that holds itself: what stands deeper in it is the same type's affair
            _making.add(name)
            try:
                _walks[name] = _compile(descriptor)
            finally:
                _making.discard(name)
    return _walks[name]


def _compile(descriptor: Descriptor) -> Walk | None:
    """The status is the system's to write: it is not looked at. Of a kind that is in a state as a whole only metadata is."""
    fields = [field for field in fields_of(descriptor) if not (field.name == "status" and is_object(descriptor))]
    whole = next(iter(rows_of(descriptor.full_name, WHOLE)), None)
    if whole is not None:
        fields = [field for field in fields if field.name == "metadata"]
    checks = {field.descriptor.number: check for field in fields if (check := _check_of(field, descriptor)) is not None}
    walk = None
    if checks:
        walk = _walk_what_is_set(checks) if len(checks) > FEW else _walk_what_matters(descriptor, checks)
    return walk if whole is None else _walk_the_whole(whole, walk)


def _walk_the_whole(row: Row, walk: Walk | None) -> Walk:
    found = Finding((), row, "")
    return lambda message: [found, *(walk(message) if walk is not None else NONE)]


def _walk_what_is_set(checks: Mapping[int, Walk]) -> Walk:
    def walk(message: Any) -> Sequence[Finding]:
        found: list[Finding] = []
        for field, value in message.ListFields():
            check = checks.get(field.number)
            if check is not None and (more := check(value)):
                found += more
        return found

    return walk


def _walk_what_matters(descriptor: Descriptor, checks: Mapping[int, Walk]) -> Walk:
    fields = [descriptor.fields_by_number[number] for number in checks]
    named = [(field.name, field.has_presence, checks[field.number]) for field in fields]

    def walk(message: Any) -> Sequence[Finding]:
        found: list[Finding] = []
        for name, has_presence, check in named:
            if message.HasField(name) if has_presence else getattr(message, name):
                more = check(getattr(message, name))
                if more:
                    found += more
        return found

    return walk


def _check_of(field: Field, owner: Descriptor) -> Walk | None:
    own = [row for row in rows_of(owner.full_name, field.json_name) if row.state != HONOURED]
    if own:
        return _check_values(field, own)
    walk = _walk_of(field.message) if field.message is not None else None
    return _check_below(field, walk) if walk is not None else None


def _check_values(field: Field, own: Sequence[Row]) -> Walk:
    name = field.json_name
    if field.message is not None or field.is_list:
        (row,) = own
        if field.is_map:
            return lambda value: [Finding((f"[{key}", name), row, key) for key in value if key in row.when]
        return lambda value: [Finding((name,), row, "")]
    return lambda value: [Finding((name,), row, text) for text in (_text(value),) for row in own if text in row.when]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_below(field: Field, walk: Walk) -> Walk:
    name = field.json_name
    if field.is_map:
        return lambda value: [finding.under(f"[{key}", name) for key in value for finding in walk(value[key])]
    if field.is_list:

        def each(items: Any) -> Sequence[Finding]:
            found: list[Finding] = []
            for index, item in enumerate(items):
                more = walk(item)
                if more:
                    found += [finding.under(index, name) for finding in more]
            return found

        return each
    if field.inline:
        return walk

    def one(value: Any) -> Sequence[Finding]:
        more = walk(value)
        return [finding.under(name) for finding in more] if more else NONE

    return one
