"""The claims of a selector: what an owner adopts, owns and releases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from knarr.machinery.selectors import Selector
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.owners import controller_of, owner_reference

# Any message with ``metadata``.
M = TypeVar("M", bound=Any)


@dataclass(frozen=True, slots=True)
class Claims(Generic[M]):
    """What an owner's selector makes of the objects around it.

    ``owned`` are its own and matching; ``adopt`` match and nobody controls them; ``release`` are
    its own but match no longer.
    """

    owned: list[M]
    adopt: list[M]
    release: list[M]


def anybody(candidate: object) -> bool:
    return True


def claim(owner: Any, selector: Selector, candidates: Iterable[M], may_belong: Callable[[M], bool] = anybody) -> Claims[M]:
    """Sorts ``candidates`` (of the owner's namespace). An owner being deleted adopts nothing.

    ``may_belong`` says of what the selector matches whether it can be the owner's at all.
    """
    claims: Claims[M] = Claims([], [], [])
    leaving = is_deleting(owner)
    for candidate in candidates:
        matches = selector.matches(candidate.metadata.labels) and may_belong(candidate)
        ref = controller_of(candidate)
        if ref is None:
            if matches and not leaving and not is_deleting(candidate):
                claims.adopt.append(candidate)
        elif ref.uid == owner.metadata.uid:
            if matches:
                claims.owned.append(candidate)
            elif not leaving:
                claims.release.append(candidate)
    return claims


def without_owner(obj: M, uid: str, finalizer: str = "") -> M:
    """A copy without the references to ``uid``, and without the finalizer by which that owner held it, if any."""
    copy = copy_of(obj)
    kept = [ref for ref in obj.metadata.owner_references if ref.uid != uid]
    del copy.metadata.owner_references[:]
    copy.metadata.owner_references.extend(kept)
    if finalizer in obj.metadata.finalizers:
        copy.metadata.finalizers.remove(finalizer)
    return copy


def with_controller(obj: M, owner: Message, finalizer: str = "") -> M:
    """A copy that ``owner`` controls, and holds by a finalizer, if any."""
    copy = copy_of(obj)
    copy.metadata.owner_references.append(owner_reference(owner))
    if finalizer and finalizer not in obj.metadata.finalizers:
        copy.metadata.finalizers.append(finalizer)
    return copy
