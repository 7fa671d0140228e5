"""Which names a definition gets, and the conditions that say so: pure.

Names are first come, first served within a group. Two servers may accept two definitions at the same moment, without having seen the
other's: then the older definition keeps what both have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

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


class Taken(NamedTuple):
    """Names that others have: of resources (plural, singular, short) and of kinds."""

    resources: frozenset[str]
    kinds: frozenset[str]


def built_in_names(group: str, resources: Iterable[Resource]) -> Taken:
    """The names that a group has of itself."""
    own = [(resource, version) for resource in resources for version in resource.versions if version.group == group]
    names = {name for resource, _ in own for name in (resource.plural, resource.singular, *resource.short_names)}
    return Taken(frozenset(names), frozenset(kind for _, version in own for kind in (version.kind, version.list_kind)))


def _taken(definitions: Iterable[Definition], built_in: Taken) -> Taken:
    accepted = [found.status.accepted_names for found in definitions]
    resources = {name for names in accepted for name in (names.plural, names.singular, *names.short_names)}
    kinds = {kind for names in accepted for kind in (names.kind, names.list_kind)}
    return Taken(frozenset(resources) - {""} | built_in.resources, frozenset(kinds) - {""} | built_in.kinds)


def _age(definition: Definition) -> tuple[int, str]:
    return definition.metadata.creation_timestamp.seconds, definition.metadata.name


def status_of(definition: Definition, others: Iterable[Definition], built_in: Taken, now: datetime) -> Status:
    """The status that a definition should have beside the other ones of its group."""
    rivals = list(others)
    all_taken = _taken(rivals, built_in)
    taken_before = _taken([found for found in rivals if _age(found) < _age(definition)], built_in)
    status = copy_of(definition.status)
    wanted, accepted = definition.spec.names, definition.status.accepted_names
    status.accepted_names.Clear()
    problem = _accept(wanted, accepted, status.accepted_names, all_taken, taken_before)
    reason, message = problem or ("NoConflicts", "no conflicts found")
    set_condition(status, NAMES_ACCEPTED, problem is None, reason=reason, message=message, now=now)
    if problem is None:
        message = "the initial names have been accepted"
        if not is_true(status, ESTABLISHED):
            set_condition(status, ESTABLISHED, True, reason="InitialNamesAccepted", message=message, now=now)
    elif not is_true(status, ESTABLISHED) or not (status.accepted_names.plural and status.accepted_names.kind):
        set_condition(status, ESTABLISHED, False, reason="NotAccepted", message="not all names are accepted", now=now)
    return status


def _accept(wanted: Names, accepted: Names, new: Names, taken: Taken, taken_before: Taken) -> tuple[str, str] | None:
    """Fills in the names that are free, and those that it had; the last conflict is told, as in Kubernetes."""
    problem = _accept_each(wanted, accepted, new, NAMES_OF_RESOURCES, taken.resources, taken_before.resources)
    conflicts = [name for name in wanted.short_names if name in (taken_before if name in accepted.short_names else taken).resources]
    if conflicts:
        words = [f'"{name}" is already in use' for name in conflicts]
        problem = ("ShortNamesConflict", words[0] if len(words) == 1 else f"[{', '.join(words)}]")
        new.short_names.extend(name for name in accepted.short_names if name not in taken_before.resources)
    else:
        new.short_names.extend(wanted.short_names)
    new.categories.extend(wanted.categories)
    return _accept_each(wanted, accepted, new, NAMES_OF_KINDS, taken.kinds, taken_before.kinds) or problem


def _accept_each(
    wanted: Names, accepted: Names, new: Names, fields: Mapping[str, str], used: frozenset[str], used_before: frozenset[str]
) -> tuple[str, str] | None:
    problem: tuple[str, str] | None = None
    for field, reason in fields.items():
        name, had = getattr(wanted, field), getattr(accepted, field)
        if name in (used_before if name == had else used):
            problem = (reason, f'"{name}" is already in use')
            name = had if had not in used_before else ""
        setattr(new, field, name)
    return problem
