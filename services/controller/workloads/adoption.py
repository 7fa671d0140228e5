"""Makes the claims of a selector true: adopts what nobody controls, releases what matches no longer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from google.protobuf.message import Message

from knarr.client.client import Client
from knarr.client.index import Index
from knarr.machinery.selectors import Selector
from knarr.objects.keys import is_deleting
from knarr.objects.owners import controller_of
from services.controller.workloads.claims import anybody, claim, with_controller, without_owner

# Any message with ``metadata``.
M = TypeVar("M", bound=Any)


def _controller_uid(obj: Any) -> list[str]:
    ref = controller_of(obj)
    return [] if ref is None else [ref.uid]


def _orphan_namespace(obj: Any) -> list[str]:
    return [obj.metadata.namespace] if controller_of(obj) is None else []


# By the uid of their controller; and by namespace, those that have none.
BY_CONTROLLER: Index[Message] = Index("controller", _controller_uid)
ORPHANS: Index[Message] = Index("orphans", _orphan_namespace)


async def settle_claims(
    client: Client,
    owner: Any,
    selector: Selector,
    candidates: Iterable[M],
    may_belong: Callable[[M], bool] = anybody,
    finalizer: str = "",
) -> list[M]:
    """The objects that ``owner`` controls and ``selector`` matches, after adopting and releasing.

    ``candidates`` are of the owner's namespace; ``may_belong`` says of them what the selector does not. ``finalizer``: by which the
    owner holds what is its own. Raises StatusError when a write fails.
    """
    claims = claim(owner, selector, candidates, may_belong)
    adopted = list[M]()
    if claims.adopt and await _still_exists(client, owner):
        adopted = [await client.update(with_controller(found, owner, finalizer)) for found in claims.adopt]
    for found in claims.release:
        await client.update(without_owner(found, owner.metadata.uid, finalizer))
    return [*claims.owned, *adopted]


async def _still_exists(client: Client, owner: Any) -> bool:
    """Adoption asks the server: the cache may hold an owner that is gone and made anew."""
    live: Any = await client.get(type(owner), owner.metadata.name, owner.metadata.namespace)
    return bool(live.metadata.uid == owner.metadata.uid and not is_deleting(live))
