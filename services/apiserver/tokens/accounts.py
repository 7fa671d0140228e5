"""Tells whose a token of a service account is, for as long as all that it is bound to is there.

A signature is judged once; that the account, the pod, the Secret or the node is still the one the token speaks of is seen in the watch
cache at every request, by the identity of what lies there. Nothing must be invalidated, and what is remembered is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.resources import Resource
from knarr.objects.account_tokens import INVALID_SINCE
from knarr.service.authentication import AUTHENTICATED, User, unauthorized
from services.apiserver.backend import Backend
from services.apiserver.entry import Entry
from services.apiserver.tokens.claims import ACCOUNTS_GROUP, Claims, Named
from services.apiserver.tokens.keys import NotSigned, SigningKeys
from services.apiserver.tokens.uses import Kept, Uses

# The issuer, as which a cluster's API server knows itself too: Kubernetes' default in most installations.
ISSUER = "https://kubernetes.default.svc.cluster.local"
# A longer text is no token for this server.
MAX_TOKEN_LETTERS = 4096
# Tokens whose signature was found good and that are remembered: 1 to 2 KB each.
REMEMBERED = 2048
# How far clocks may be apart; also how long what was deleted is good beyond its grace, as in Kubernetes.
LEEWAY_SECONDS = 60
# How long a request waits until the cache has what others wrote.
CATCH_UP_SECONDS = 5.0

ACCOUNTS, PODS, SECRETS, NODES = (version_of(kind).resource for kind in (core.ServiceAccount, core.Pod, core.Secret, core.Node))
POD_NAME, POD_UID, NODE_NAME, NODE_UID, CREDENTIAL_ID = (
    f"authentication.kubernetes.io/{word}" for word in ("pod-name", "pod-uid", "node-name", "node-uid", "credential-id")
)


class Refused(Exception):
    """Why a token is not taken, in words for who asks about it."""


class OutOfDate(Refused):
    """The cache does not bear out what the token says; perhaps it does not know yet."""


@dataclass(slots=True)
class _Verified:
    """A token with a good signature, and what bore it out when it was last looked at: ``ends`` is when the first of it is gone, ``kept``
    the Secret of an account that it lies in."""

    claims: Claims
    user: User
    seen: tuple[Entry | None, ...] = ()
    ends: int | None = None
    kept: Kept | None = None


class ServiceAccountTokens:
    """Good for requests to this server where a token names one of ``audiences``."""

    def __init__(self, keys: SigningKeys, backend: Backend, audiences: Sequence[str] = (ISSUER,)) -> None:
        self.keys, self.audiences = keys, tuple(audiences)
        self.uses = Uses(backend.clock)
        self._backend = backend
        # An exception is never remembered.
        self._verified = lru_cache(maxsize=REMEMBERED)(self._verify)

    def knows(self, token: str) -> bool:
        """Whether a text looks like a token that is judged here."""
        return len(token) <= MAX_TOKEN_LETTERS and self.keys.knows(token)

    def authenticate(self, token: str) -> User | Coroutine[Any, Any, User]:
        """The service account; raises Unauthorized, or answers a coroutine that does where the cache may not know yet."""
        try:
            return self.identify(token, self.audiences)[0]
        except OutOfDate:
            return self._later(token)
        except Refused:
            raise unauthorized() from None

    async def review(self, token: str, audiences: Collection[str]) -> tuple[User, list[str]]:
        """The service account and those of ``audiences`` that the token is for; raises Refused."""
        try:
            return self.identify(token, audiences)
        except OutOfDate:
            await self._catch_up()
        return self.identify(token, audiences)

    def identify(self, token: str, audiences: Collection[str]) -> tuple[User, list[str]]:
        """As ``review``, by what the cache knows now."""
        if len(token) > MAX_TOKEN_LETTERS:
            raise Refused("the token is longer than any of this cluster's")
        verified, now = self._verified(token), int(self._backend.clock().timestamp())
        claims = verified.claims
        if now > claims.expires_at + LEEWAY_SECONDS:
            raise Refused("service account token has expired")
        if now < claims.issued_at - LEEWAY_SECONDS:
            raise Refused("service account token is not valid yet")
        meant = [audience for audience in audiences if audience in claims.audiences]
        if not meant:
            raise Refused(f"token audiences {list(claims.audiences)} is invalid for the target audiences {list(audiences)}")
        seen = tuple(self._backend.cache.get(resource, namespace, named.name) for resource, namespace, named in _bound(claims))
        if seen != verified.seen or not verified.seen:
            verified.ends, verified.kept = _end(claims, seen), _kept(claims, seen)
            verified.seen = seen
        if verified.ends is not None and now > verified.ends + LEEWAY_SECONDS:
            raise Refused("service account token has been invalidated")
        if verified.kept is not None:
            self._use(verified.kept, claims)
        return verified.user, meant

    def _use(self, kept: Kept, claims: Claims) -> None:
        self.uses.note(kept)
        if kept.invalid_since:
            whose = f"the token in secret {kept.key} for service account {claims.namespace}/{claims.account.name}"
            ways = "Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the"
            label = f"'{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            raise Refused(f"{whose} has been marked invalid. {ways} {label}")

    async def _later(self, token: str) -> User:
        await self._catch_up()
        try:
            return self.identify(token, self.audiences)[0]
        except Refused:
            raise unauthorized() from None

    async def _catch_up(self) -> None:
        """Waits for what other servers wrote; those who wait ask the store once together."""
        deadline = asyncio.get_running_loop().time() + CATCH_UP_SECONDS
        await self._backend.synced(deadline)
        await self._backend.latest(deadline)

    def _verify(self, token: str) -> _Verified:
        try:
            claims = Claims.from_json(self.keys.payload(token))
        except (NotSigned, ValueError) as error:
            raise Refused(str(error)) from None
        if claims.issuer != ISSUER:
            raise Refused("it is another issuer's")
        return _Verified(claims, _user(claims))


def _bound(claims: Claims) -> Iterator[tuple[Resource, str, Named]]:
    """What must be there for the token to be good, and the place of each."""
    yield ACCOUNTS, claims.namespace, claims.account
    if claims.secret is not None:
        yield SECRETS, claims.namespace, claims.secret
    if claims.pod is not None:
        yield PODS, claims.namespace, claims.pod
    elif claims.node is not None:
        yield NODES, "", claims.node


def _end(claims: Claims, seen: Sequence[Entry | None]) -> int | None:
    """When the first of what was found ends, in seconds since 1970; None where nothing is being deleted. Raises OutOfDate."""
    ends = []
    for (resource, _, named), entry in zip(_bound(claims), seen, strict=True):
        found = meta.PartialObjectMetadata.FromString(entry.raw).metadata if entry is not None else None
        if found is None or found.uid != named.uid:
            raise OutOfDate(f'the {resource.singular} "{named.name}" that the token is bound to is gone')
        if found.HasField("deletion_timestamp"):
            ends.append(found.deletion_timestamp.seconds)
    return min(ends, default=None)


def _kept(claims: Claims, seen: Sequence[Entry | None]) -> Kept | None:
    """The Secret that a token lies in, among what was found."""
    for (resource, _, named), entry in zip(_bound(claims), seen, strict=True):
        if resource is SECRETS and named is claims.secret and entry is not None:
            return Kept.of(core.Secret.FromString(entry.raw))
    return None


def _user(claims: Claims) -> User:
    groups = (ACCOUNTS_GROUP, f"{ACCOUNTS_GROUP}:{claims.namespace}", AUTHENTICATED)
    extra = {CREDENTIAL_ID: f"JTI={claims.id}" if claims.id else ""}
    for named, name, uid in ((claims.node, NODE_NAME, NODE_UID), (claims.pod, POD_NAME, POD_UID)):
        if named is not None:
            extra |= {name: named.name, uid: named.uid}
    return User(claims.subject, claims.account.uid, groups, tuple((key, (value,)) for key, value in sorted(extra.items()) if value))
