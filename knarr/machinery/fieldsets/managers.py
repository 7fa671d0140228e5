"""Who owns which fields of an object, and how that changes: by an update, which takes what it writes, or by applying a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from knarr.machinery.fieldsets import fields as sets
from knarr.machinery.fieldsets.compare import Comparison, compare
from knarr.machinery.fieldsets.fields import EMPTY, Fields
from knarr.machinery.fieldsets.members import mentioned, reconciled, with_named
from knarr.machinery.fieldsets.merge import merge, remove
from knarr.machinery.fieldsets.shape import Shape

APPLY, UPDATE = "Apply", "Update"
# So many managers that update are told apart; the oldest of more are one.
MAX_UPDATE_MANAGERS = 10
ANCIENT_CHANGES = "ancient-changes"
# What belongs to nobody: what names an object, and what the server keeps.
_NOBODYS: Fields = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {
        sets.SELF: {},
        **{
            f"f:{name}": {}
            for name in (
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "clusterName",
                "generation",
                "managedFields",
                "resourceVersion",
            )
        },
    },
}


class Manager(NamedTuple):
    """Who manages fields, as entries are told apart. ``api_version`` is empty for one who applies: its version may change."""

    name: str
    operation: str
    api_version: str = ""
    subresource: str = ""


class Owned:
    """What a manager owns, in terms of a version, and since when (Unix seconds; None where that is not known). Never changed.

    The set is read from its text when it is first asked for, and written when it has none.
    """

    __slots__ = ("_fields", "_raw", "api_version", "seconds")

    def __init__(self, api_version: str, seconds: int | None, *, fields: Fields | None = None, raw: bytes = b"") -> None:
        """``raw`` is FieldsV1. What cannot be read is nothing that anybody could own."""
        self.api_version = api_version
        self.seconds = seconds
        self._fields = fields
        self._raw = raw

    @property
    def fields(self) -> Fields:
        if self._fields is None:
            try:
                self._fields = sets.decode(self._raw)
            except ValueError:
                self._fields = EMPTY
        return self._fields

    @property
    def raw(self) -> bytes:
        return self._raw or sets.encode(self.fields)

    def may_have(self, fields: Fields) -> bool:
        """Whether any of a set may be in this one: mostly the text shows that there is nothing to look for."""
        return not self._raw or any(element.encode() in self._raw for element in fields)

    def since(self, seconds: int) -> Owned:
        """The same, written at another time."""
        return Owned(self.api_version, seconds, fields=self._fields, raw=self._raw)

    def without(self, *gone: Fields) -> Owned:
        """The same with less; itself when it has nothing of that."""
        fields = self.fields
        for part in gone:
            if part:
                fields = sets.difference(fields, part)
        return self if fields == self.fields else Owned(self.api_version, self.seconds, fields=fields)


Managed = dict[Manager, Owned]


class Versions(Protocol):
    """The versions in which one kind of object is served."""

    def shape(self, api_version: str) -> Shape | None:
        """None for a version that is not served (any more)."""

    def ignored(self, api_version: str) -> Fields:
        """The fields that a write does not reach: those of the status for a write to the object, and the other way round."""

    def converted(self, value: Any, source: str, target: str) -> Any:
        """An object's JSON in another version."""


class Conflicts(Exception):
    """Fields that others own, and that an apply without force would change: by manager."""

    def __init__(self, fields: dict[Manager, Fields]) -> None:
        super().__init__("conflicts")
        self.fields = fields

    @property
    def all(self) -> Fields:
        return _union(self.fields.values())


# What a write changed, in terms of a version that is served.
Compared = Callable[[str], Comparison]


def updated(versions: Versions, managed: Managed, compared: Compared, manager: Manager, version: str, now: int) -> Managed:
    """The managers after ``manager`` has written an object in a version. Managers of versions that are not served are forgotten."""
    comparison = compared(version)
    if comparison.is_same:
        return managed
    own = sets.difference(comparison.written, _NOBODYS)
    before = managed.get(manager)
    if own and before is not None and not comparison.removed and before.api_version == version and not sets.difference(own, before.fields):
        # Mostly a manager writes what it has written before.
        result = _taken_from(versions, managed, compared, manager)
        result[manager] = before.since(now)
        return result
    result = _taken_from(versions, managed, compared, None)
    if own:
        rest = result.get(manager)
        result[manager] = Owned(version, now, fields=sets.union(rest.fields, own) if rest is not None else own)
    return capped(result)


def _taken_from(versions: Versions, managed: Managed, compared: Compared, keeper: Manager | None) -> Managed:
    """What is left to each but ``keeper`` of what changed; who has nothing left is left out."""
    result: Managed = {}
    for manager, owned in managed.items():
        if manager == keeper:
            result[manager] = owned
        elif (shape := versions.shape(owned.api_version)) is not None:
            comparison = compared(owned.api_version)
            changed = (comparison.modified, comparison.added, comparison.removed)
            if any(part and owned.may_have(part) for part in changed):
                owned = _reconciled(shape, owned).without(*changed)
                if not owned.fields:
                    continue
            result[manager] = owned
    return result


def capped(managed: Managed) -> Managed:
    """At most so many managers that update: the oldest of one version are merged."""
    updaters = [manager for manager in managed if manager.operation == UPDATE]
    if len(updaters) <= MAX_UPDATE_MANAGERS:
        return managed
    result = dict(managed)
    firsts: dict[str, Manager] = {}
    surplus = len(updaters) - MAX_UPDATE_MANAGERS
    for manager in sorted(updaters, key=lambda manager: (managed[manager].seconds or 0, manager)):
        if not surplus:
            break
        version = managed[manager].api_version
        if version not in firsts:
            firsts[version] = manager
            continue
        bucket = Manager(ANCIENT_CHANGES, UPDATE, version)
        if bucket not in result:
            result[bucket] = result.pop(firsts[version])
        if manager != bucket:
            newer = result.pop(manager)
            result[bucket] = Owned(version, newer.seconds, fields=sets.union(result[bucket].fields, newer.fields))
            surplus -= 1
    return result


@dataclass(frozen=True, slots=True)
class Applied:
    """``value`` is the object as it shall be, in the version that was applied; None when it is as it was."""

    value: Any
    managed: Managed


def applied(
    versions: Versions, live: Any, config: Any, version: str, managed: Managed, manager: Manager, now: int, *, force: bool = False
) -> Applied:
    """Applies ``config`` to ``live`` (both of ``version``, as JSON) for ``manager``: it owns then what it mentions, and what it mentioned
    before and does not any more goes, unless somebody else owns it. Raises Conflicts, but with ``force`` takes what others own."""
    shape = versions.shape(version)
    assert shape is not None
    managed = _as_served(versions, managed)
    last = managed.get(manager)
    own = sets.excluding(mentioned(shape, config), versions.ignored(version))
    wanted = {**managed, manager: Owned(version, None, fields=own)}
    value = _pruned(versions, merge(shape, live, config), version, wanted, last, own)
    comparisons: dict[str, Comparison] = {}

    def compared(api_version: str) -> Comparison:
        if api_version not in comparisons:
            comparisons[api_version] = _compared(versions, live, value, version, api_version)
        return comparisons[api_version]

    if not force:
        _refuse_conflicts(managed, compared, manager)
    result = _taken_from(versions, wanted, compared, manager)
    changed = live != value
    own = sets.difference(own, _NOBODYS)
    if own:
        result[manager] = Owned(version, now if changed else last.seconds if last is not None else None, fields=own)
    else:
        del result[manager]
    return Applied(value if changed else None, result)


def _as_served(versions: Versions, managed: Managed) -> Managed:
    """The managers without those of versions that are not served, and with what is atomic by now as one."""
    result: Managed = {}
    for manager, owned in managed.items():
        shape = versions.shape(owned.api_version)
        if shape is not None:
            result[manager] = _reconciled(shape, owned)
    return result


def _reconciled(shape: Shape, owned: Owned) -> Owned:
    fields = reconciled(shape, owned.fields)
    return owned if fields is owned.fields else Owned(owned.api_version, owned.seconds, fields=fields)


def _compared(versions: Versions, live: Any, value: Any, version: str, target: str) -> Comparison:
    shape = versions.shape(target)
    assert shape is not None
    old, new = (item if target == version else versions.converted(item, version, target) for item in (live, value))
    return compare(shape, old, new).excluding(versions.ignored(target))


def _refuse_conflicts(managed: Managed, compared: Compared, manager: Manager) -> None:
    conflicts: dict[Manager, Fields] = {}
    for other, owned in managed.items():
        if other != manager and (common := sets.intersection(owned.fields, compared(owned.api_version).written)):
            conflicts[other] = common
    if conflicts:
        raise Conflicts(conflicts)


def _pruned(versions: Versions, merged: Any, version: str, managed: Managed, last: Owned | None, own: Fields) -> Any:
    """The merged object without what its manager applied last time and does not now, and nobody else owns."""
    if last is None or not last.fields or (last.api_version == version and not sets.difference(last.fields, own)):
        return merged
    shape = versions.shape(last.api_version)
    assert shape is not None
    full = _in(versions, merged, version, last.api_version)
    mentioned_before = with_named(shape, last.fields)
    rest = remove(shape, full, mentioned_before) or {}
    rest = _with_owned(versions, full, rest, last.api_version, managed)
    gone = sets.difference(_named_fields(shape, full), _named_fields(shape, rest))
    # What nobody owns was not this manager's to remove either.
    rest = remove(shape, full, sets.intersection(gone, mentioned_before)) or {}
    return _in(versions, rest, last.api_version, version)


def _with_owned(versions: Versions, full: Any, rest: Any, version: str, managed: Managed) -> Any:
    """``rest`` with what of ``full`` anybody owns, version by version, its own first."""
    by_version: dict[str, list[Fields]] = {version: []}
    for owned in managed.values():
        by_version.setdefault(owned.api_version, []).append(owned.fields)
    current = version
    for target, owners in by_version.items():
        shape = versions.shape(target)
        assert shape is not None
        full, rest, current = _in(versions, full, current, target), _in(versions, rest, current, target), target
        kept = sets.union(_named_fields(shape, rest), with_named(shape, _union(owners)))
        rest = remove(shape, full, sets.difference(_named_fields(shape, full), kept)) or {}
    return _in(versions, rest, current, version)


def _named_fields(shape: Shape, value: Any) -> Fields:
    return with_named(shape, mentioned(shape, value))


def _in(versions: Versions, value: Any, source: str, target: str) -> Any:
    return value if source == target else versions.converted(value, source, target)


def _union(parts: Iterable[Fields]) -> Fields:
    result = EMPTY
    for part in parts:
        result = sets.union(result, part)
    return result
