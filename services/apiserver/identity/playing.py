"""Who may play whom: without limits by the verb ``impersonate``, or within some by Kubernetes' constrained impersonation (1.36).

Then the right to play somebody (``impersonate:MODE``) lets do nothing yet: each request needs ``impersonate-on:MODE:VERB`` on what it is
about as well, which is asked where the request is permitted (``may_as_played``). The modes: ``associated-node`` (a service account plays
the node on which its token's pod runs), ``arbitrary-node``, ``serviceaccount``, and ``user-info`` for everybody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from knarr.machinery.errors import Forbidden
from knarr.machinery.validation import dns1123_subdomain, qualified_name
from knarr.service.authentication import AUTHENTICATED, MASTERS, NODE_PREFIX, NODES, User
from services.apiserver.authorization import Authorizer, imagined, name_of, permit
from services.apiserver.identity.impersonation import EXTRAS, GROUP_OF_IDENTITIES, UIDS, VERB, Impersonation
from services.apiserver.request import Request
from services.apiserver.results import Ref
from services.apiserver.tokens.accounts import NODE_NAME
from services.apiserver.tokens.claims import ACCOUNT_PREFIX

ASSOCIATED, ARBITRARY, ACCOUNT, USER_INFO = "associated-node", "arbitrary-node", "serviceaccount", "user-info"
NODE_KEYS = "authentication.kubernetes.io/associated-node-keys"
PLAYED_NODES, USERS, GROUPS, ACCOUNTS = (
    imagined(GROUP_OF_IDENTITIES, plural) for plural in ("nodes", "users", "groups", "serviceaccounts")
)
ALL = "*"
# From so many on it is asked first whether all may be played.
MANY = 4


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to play somebody. ``asker`` is who is asked about; ``refs`` are in groups, of each of which one alternative must be
    permitted as a whole."""

    name: str
    asker: User
    refs: tuple[tuple[tuple[Ref, ...], ...], ...]


async def played(authorizer: Authorizer, user: User, wanted: Impersonation, deadline: float) -> User:
    """Whom a caller plays; raises Forbidden, as for who may play nobody without limits."""
    node = _node(wanted)
    if node is not None:
        # First: the node has groups only so.
        for mode in _of_nodes(user, wanted, node):
            if await _may(authorizer, mode, deadline):
                return replace(User(wanted.name, groups=(NODES, AUTHENTICATED), impersonator=user), constraint=mode.name)
    try:
        for ref in wanted.refs():
            await permit(authorizer, Request(user, VERB, ref, None, deadline))
    except Forbidden:
        other = _of_others(user, wanted) if node is None else None
        if other is None or not await _may(authorizer, other, deadline):
            raise
        return replace(wanted.user(user), constraint=other.name)
    return wanted.user(user)


async def may_as_played(authorizer: Authorizer, request: Request) -> None:
    """Returns where whoever plays the caller may do so for this request; raises Forbidden."""
    played_by, mode = request.user.impersonator, request.user.constraint
    if played_by is None or not mode:
        return
    asker = _without_extra(played_by) if mode == ASSOCIATED else played_by
    ref = request.ref._replace(name=name_of(request))
    await permit(authorizer, Request(asker, f"{VERB}-on:{mode}:{request.verb}", ref, request.options, request.deadline))


def _of_nodes(user: User, wanted: Impersonation, node: str) -> Iterator[Mode]:
    own = dict(user.extra).get(NODE_NAME, ())
    if user.name.startswith(ACCOUNT_PREFIX) and own == (node,):
        yield Mode(ASSOCIATED, _without_extra(user), (((Ref(PLAYED_NODES, name=ALL),),),))
    yield Mode(ARBITRARY, user, (((Ref(PLAYED_NODES, name=node),),),))


def _of_others(user: User, wanted: Impersonation) -> Mode | None:
    """None where he may be played without limits alone."""
    if (account := wanted.account) is not None:
        plain = not (wanted.groups or wanted.uid or wanted.extra)
        return Mode(ACCOUNT, user, (((Ref(ACCOUNTS, *account),),),)) if plain else None
    if "" in wanted.groups or MASTERS in wanted.groups or not all(_is_good(key, values) for key, values in wanted.extra):
        return None
    groups = tuple(Ref(GROUPS, name=group) for group in wanted.groups)
    extra = tuple(Ref(EXTRAS, "", value, key) for key, values in wanted.extra for value in values)
    found = [
        ((Ref(USERS, name=wanted.name),),),
        _all_or_each(Ref(GROUPS, name=ALL), groups),
        _all_or_each(Ref(EXTRAS, "", ALL, ALL), extra),
    ]
    return Mode(USER_INFO, user, (*found, ((Ref(UIDS, name=wanted.uid),),)) if wanted.uid else tuple(found))


def _all_or_each(every: Ref, each: tuple[Ref, ...]) -> tuple[tuple[Ref, ...], ...]:
    return ((every,), each) if len(each) >= MANY else (each,)


def _is_good(key: str, values: tuple[str, ...]) -> bool:
    """A key of extra values is somebody's, ``example.com/key`` in small letters, and no value is empty."""
    return "/" in key and key == key.lower() and not qualified_name(key) and all(values)


def _node(wanted: Impersonation) -> str | None:
    """The node that is meant, and nothing besides; None for everybody else."""
    node = wanted.name.removeprefix(NODE_PREFIX)
    if node == wanted.name or dns1123_subdomain(node):
        return None
    return node if not (wanted.groups or wanted.uid or wanted.extra) else None


def _without_extra(user: User) -> User:
    """On whichever node the account's pod runs, it is the same question."""
    return replace(user, extra=((NODE_KEYS, tuple(sorted(key for key, _ in user.extra))),))


async def _may(authorizer: Authorizer, mode: Mode, deadline: float) -> bool:
    for alternatives in mode.refs:
        for refs in alternatives:
            if await _may_each(authorizer, mode, refs, deadline):
                break
        else:
            return False
    return True


async def _may_each(authorizer: Authorizer, mode: Mode, refs: tuple[Ref, ...], deadline: float) -> bool:
    try:
        for ref in refs:
            await permit(authorizer, Request(mode.asker, f"{VERB}:{mode.name}", ref, None, deadline))
    except Forbidden:
        return False
    return True
