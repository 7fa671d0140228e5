"""Which names a definition gets, and the conditions that say so: pure.

Names are first come, first served within a group. Two servers may accept two definitions at the same moment, without having seen the
other's: then the older definition keeps what both have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.machinery.custom.definitions import Definition
from knarr.machinery.resources import Resource
from knarr.objects.conditions import is_true, set_condition
from knarr.objects.copies import copy_of

ESTABLISHED, NAMES_ACCEPTED, TERMINATING = "Established", "NamesAccepted", "Terminating"
# The fields of names, and what is said when one of them is taken.
NAMES_OF_RESOURCES = {"plural": "PluralConflict", "singular": "SingularConflict"}
NAMES_OF_KINDS = {"kind": "KindConflict", "list_kind": "ListKindConflict"}
Names = apiextensions.CustomResourceDefinitionNames
Status = apiextensions.CustomResourceDefinitionStatus


class IsTaken(Protocol):
    """Whether a name is another one's; a name that is ``kept`` only an older one takes away."""

    def __call__(self, name: str, *, kept: bool) -> bool: ...


class Taken(NamedTuple):
    """Names that a group has of itself: of resources (plural, singular, short) and of kinds."""

    resources: frozenset[str]
    kinds: frozenset[str]


def built_in_names(group: str, resources: Iterable[Resource]) -> Taken:
    own = [(resource, version) for resource in resources for version in resource.versions if version.group == group]
    names = {name for resource, _ in own for name in (resource.plural, resource.singular, *resource.short_names)}
    return Taken(frozenset(names), frozenset(kind for _, version in own for kind in (version.kind, version.list_kind)))


class Group:
    """Who has which names in a group, of what is accepted: made once, and asked about each of its definitions."""

    def __init__(self, definitions: Iterable[Definition], built_in: Taken) -> None:
        self._built_in = built_in
        self._resources: dict[str, list[Definition]] = {}
        self._kinds: dict[str, list[Definition]] = {}
        for found in definitions:
            names = found.status.accepted_names
            for name in {names.plural, names.singular, *names.short_names} - {""}:
                self._resources.setdefault(name, []).append(found)
            for name in {names.kind, names.list_kind} - {""}:
                self._kinds.setdefault(name, []).append(found)

    def resource_taken(self, name: str, of: Definition, *, before: bool) -> bool:
        """Whether the name is another one's; with ``before``, one's that is older."""
        return name in self._built_in.resources or _has_other(self._resources.get(name, ()), of, before=before)

    def kind_taken(self, name: str, of: Definition, *, before: bool) -> bool:
        return name in self._built_in.kinds or _has_other(self._kinds.get(name, ()), of, before=before)


def _has_other(holders: Iterable[Definition], of: Definition, *, before: bool) -> bool:
    return any(found.metadata.uid != of.metadata.uid and (not before or _age(found) < _age(of)) for found in holders)


def _age(definition: Definition) -> tuple[int, str]:
    return definition.metadata.creation_timestamp.seconds, definition.metadata.name


def status_of(definition: Definition, group: Group, now: datetime) -> Status:
    """The status that a definition should have beside the other ones of its group."""
    status = copy_of(definition.status)
    status.accepted_names.Clear()
    problem = _accept(definition, status.accepted_names, group)
    reason, message = problem or ("NoConflicts", "no conflicts found")
    set_condition(status, NAMES_ACCEPTED, problem is None, reason=reason, message=message, now=now)
    if problem is None:
        message = "the initial names have been accepted"
        if not is_true(status, ESTABLISHED):
            set_condition(status, ESTABLISHED, True, reason="InitialNamesAccepted", message=message, now=now)
    elif not is_true(status, ESTABLISHED) or not (status.accepted_names.plural and status.accepted_names.kind):
        set_condition(status, ESTABLISHED, False, reason="NotAccepted", message="not all names are accepted", now=now)
    return status


def _accept(definition: Definition, new: Names, group: Group) -> tuple[str, str] | None:
    """Fills in the names that are free, and those that it had; the last conflict is told, as in Kubernetes."""
    wanted, had = definition.spec.names, definition.status.accepted_names

    def taken(name: str, *, kept: bool) -> bool:
        return group.resource_taken(name, definition, before=kept)

    def kind_taken(name: str, *, kept: bool) -> bool:
        return group.kind_taken(name, definition, before=kept)

    problem = _accept_each(wanted, had, new, NAMES_OF_RESOURCES, taken)
    conflicts = [name for name in wanted.short_names if taken(name, kept=name in had.short_names)]
    if conflicts:
        words = [f'"{name}" is already in use' for name in conflicts]
        problem = ("ShortNamesConflict", words[0] if len(words) == 1 else f"[{', '.join(words)}]")
        new.short_names.extend(name for name in had.short_names if not taken(name, kept=True))
    else:
        new.short_names.extend(wanted.short_names)
    new.categories.extend(wanted.categories)
    return _accept_each(wanted, had, new, NAMES_OF_KINDS, kind_taken) or problem


def _accept_each(wanted: Names, accepted: Names, new: Names, fields: Mapping[str, str], taken: IsTaken) -> tuple[str, str] | None:
    problem: tuple[str, str] | None = None
    for field, reason in fields.items():
        name, had = getattr(wanted, field), getattr(accepted, field)
        if taken(name, kept=name == had):
            problem = (reason, f'"{name}" is already in use')
            name = had if not taken(had, kept=True) else ""
        setattr(new, field, name)
    return problem
