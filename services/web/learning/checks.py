"""Whether the cluster looks as a lesson says: what a fault shows, and what shows that it is mended. Pure.

A check is a mapping:

``of``      a resource that the page follows, by its plural
``name``    of one object; or ``labels``, which objects have
``at``      a path in each, as ``status.containerStatuses.*.restartCount``: ``*`` stands for each member of a list or mapping
``is``      what must be there: a value, or one of a list of them
``least``   or a number that must at least be there
``says``    or words that must be in it
``count``   how many objects must be so; 1 unless said, 0 for none at all
``fresh``   only those count that were not there when the step began
``anywhere`` objects outside the lesson's namespace count, too: those of no namespace

It holds where at least ``count`` objects have a value at ``at`` which is as it must be; without ``at``, where there are so many.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

Obj = Mapping[str, Any]
Check = Mapping[str, Any]
# The objects of a resource, in one namespace; in all where that is empty.
Objects = Callable[[str, str], Iterable[Obj]]
FIELDS = frozenset({"of", "name", "labels", "at", "is", "least", "says", "count", "fresh", "anywhere"})


def holds(check: Check, objects: Objects, namespace: str, known: Collection[str] = ()) -> bool:
    """``known``: uids of what was there when the step began."""
    there = objects(check["of"], "" if check.get("anywhere") else namespace)
    found = sum(_is_so(check, obj) for obj in there if _is_meant(check, obj, known))
    wanted = check.get("count", 1)
    return found == 0 if wanted == 0 else found >= wanted


def all_hold(checks: Iterable[Check], objects: Objects, namespace: str, known: Collection[str] = ()) -> bool:
    return all(holds(check, objects, namespace, known) for check in checks)


def _is_meant(check: Check, obj: Obj, known: Collection[str]) -> bool:
    metadata = obj["metadata"]
    if "name" in check and metadata["name"] != check["name"]:
        return False
    if check.get("fresh") and metadata.get("uid") in known:
        return False
    labels = metadata.get("labels") or {}
    return all(labels.get(name) == value for name, value in (check.get("labels") or {}).items())


def _is_so(check: Check, obj: Obj) -> bool:
    if "at" not in check:
        return True
    return any(_fits(check, value) for value in values(obj, check["at"].split(".")))


def _fits(check: Check, value: Any) -> bool:
    if "least" in check:
        return isinstance(value, int | float) and value >= check["least"]
    if "says" in check:
        return isinstance(value, str) and check["says"] in value
    wanted = check["is"]
    return value in wanted if isinstance(wanted, list) else value == wanted


def values(value: Any, path: list[str]) -> Iterator[Any]:
    """All that lies at a path; None where the last step leads to nothing."""
    if not path:
        yield value
    elif path[0] == "*":
        members = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        for member in members:
            yield from values(member, path[1:])
    elif isinstance(value, Mapping):
        yield from values(value.get(path[0]), path[1:])
    elif len(path) == 1:
        yield None
