"""Garbage collection: what to do about one object, from its owners' states and its dependents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from services.controller.controllers.garbagecollector.graph import FOREGROUND, ORPHAN, Item


class OwnerState(Enum):
    """SOLID keeps its dependents alive, WAITING is being deleted in the foreground and waits for
    them, ABSENT is known not to exist."""

    SOLID = "solid"
    WAITING = "waiting"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Delete:
    """``unblock`` first clears blockOwnerDeletion of its own references, to break a circle."""

    propagation_policy: str
    unblock: bool = False


@dataclass(frozen=True, slots=True)
class DropOwners:
    """Removes references to owners that are gone or going, because another owner stays."""

    uids: frozenset[str]


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Lets the object go; with ORPHAN, after all dependents have lost their reference to it."""

    finalizer: str


@dataclass(frozen=True, slots=True)
class LookAt:
    """Has the dependents with these uids looked at: they must go before the object does."""

    uids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Unblock:
    """Clears blockOwnerDeletion of its own references, to break a circle in which each waits for the next."""


Action = Delete | DropOwners | RemoveFinalizer | LookAt | Unblock


def decide(item: Item, dependents: Sequence[Item], owners: Mapping[str, OwnerState], *, circle: bool = False) -> Action | None:
    """``item`` as just read; ``owners`` has a state for each of its owners. ``circle``: it waits for itself, through others."""
    if item.deleting:
        return Unblock() if circle else _decide_deleting(item, dependents)
    if not item.owners:
        return None
    states = {owner.uid: owners[owner.uid] for owner in item.owners}
    going = frozenset(uid for uid, state in states.items() if state is not OwnerState.SOLID)
    if len(going) < len(states):
        return DropOwners(going) if going else None
    if OwnerState.WAITING in states.values() and dependents:
        return Delete("Foreground", unblock=any(dependent.deleting_dependents for dependent in dependents))
    return Delete("Orphan" if item.orphan else "Foreground" if item.foreground else "Background")


def _decide_deleting(item: Item, dependents: Sequence[Item]) -> Action | None:
    if item.orphan:
        return RemoveFinalizer(ORPHAN)
    if not item.foreground:
        return None
    blocking = [dependent for dependent in dependents if any(owner.uid == item.uid and owner.blocks for owner in dependent.owners)]
    if not blocking:
        return RemoveFinalizer(FOREGROUND)
    return LookAt([dependent.uid for dependent in blocking if not dependent.deleting])
