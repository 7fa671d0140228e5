"""Tokens of other issuers (OpenID Connect): whose one is, and for how long.

A signature is judged once for as long as the issuer's keys are the same, and so is what follows from the claims; the times are looked at
with every request. What is remembered is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knarr.service.authentication import User, unauthorized
from knarr.service.tasks import cancel
from services.apiserver.identity.jwt.claims import user_of
from services.apiserver.identity.jwt.configuration import Issuer
from services.apiserver.identity.jwt.issuer_keys import Fetch, IssuerKeys, fetch
from services.apiserver.identity.jwt.keys import Head, KeySet
from services.apiserver.tokens.accounts import Refused

# A longer text is no token of an issuer: groups may be many.
MAX_TOKEN_LETTERS = 16 * 1024
REMEMBERED = 1024
# How far clocks may be apart where a token is not good yet; it ends in time, as in Kubernetes.
NOT_BEFORE_LEEWAY_SECONDS = 300


class UnknownKey(Refused):
    """No key of the issuer is known that could have signed the token; perhaps a newer one has."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Times are seconds since 1970."""

    user: User
    audiences: tuple[str, ...]
    begins: float
    ends: float


class IssuedTokens:
    """``follow`` says which issuers there are; ``run`` asks them for their keys."""

    def __init__(self, now: Callable[[], datetime], get: Fetch = fetch) -> None:
        self._now, self._get = now, get
        self._issuers: dict[str, IssuerKeys] = {}
        self._tasks: dict[IssuerKeys, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        # Good tokens, each with the issuer and the keys by which it was judged.
        self._known: dict[str, tuple[IssuerKeys, KeySet, Verified]] = {}

    def follow(self, issuers: Sequence[Issuer]) -> None:
        """These and no others from now on; the keys of one that stays as it was are kept."""
        before = self._issuers
        self._issuers = {
            issuer.url: known if (known := before.get(issuer.url)) is not None and known.issuer == issuer else IssuerKeys(issuer, self._get)
            for issuer in issuers
        }
        self._known.clear()
        self._changed.set()

    def trouble(self, url: str) -> str:
        """Why the keys of an issuer are not known, or may be old; empty while all is well."""
        return self._issuers[url].trouble

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._changed.clear()
                wanted = list(self._issuers.values())
                for gone in self._tasks.keys() - wanted:
                    self._tasks.pop(gone).cancel()
                for issuer in wanted:
                    if issuer not in self._tasks:
                        self._tasks[issuer] = asyncio.create_task(issuer.run(), name=f"apiserver/keys of {issuer.issuer.url}")
                await self._changed.wait()
        finally:
            await cancel(list(self._tasks.values()))
            self._tasks.clear()

    def knows(self, token: str) -> bool:
        """Whether a text has the form of a token that is judged here."""
        return bool(self._issuers) and token.count(".") == 2 and len(token) <= MAX_TOKEN_LETTERS

    def authenticate(self, token: str) -> User | Coroutine[Any, Any, User]:
        """Raises Unauthorized, or answers a coroutine that does where the issuer may have a newer key."""
        try:
            return self.identify(token)[0]
        except UnknownKey:
            return self._later(token)
        except Refused:
            raise unauthorized() from None

    async def review(self, token: str, audiences: Collection[str]) -> tuple[User, list[str]]:
        """The user, and those of ``audiences`` that the token is for, all of its own where none are asked about; raises Refused."""
        try:
            user, meant = self.identify(token)
        except UnknownKey:
            await self._newer(token)
            user, meant = self.identify(token)
        found = [audience for audience in audiences if audience in meant] if audiences else list(meant)
        if not found:
            raise Refused(f"token audiences {list(meant)} is invalid for the target audiences {list(audiences)}")
        return user, found

    def identify(self, token: str) -> tuple[User, tuple[str, ...]]:
        """By the keys that are known now."""
        if len(token) > MAX_TOKEN_LETTERS:
            raise Refused(f"oidc: a token has {MAX_TOKEN_LETTERS} letters at most")
        verified, now = self._judged(token), self._now().timestamp()
        if now > verified.ends:
            raise Refused("oidc: verify token: token is expired")
        if now < verified.begins - NOT_BEFORE_LEEWAY_SECONDS:
            raise Refused("oidc: verify token: token is not valid yet")
        return verified.user, verified.audiences

    def _judged(self, token: str) -> Verified:
        known = self._known.get(token)
        if known is not None and known[0].keys is known[1]:
            return known[2]
        head = Head.of(token)
        issuer = self._of(head)
        verified = _verify(token, head, issuer.issuer, issuer.keys)
        if len(self._known) >= REMEMBERED:
            # The one that has been there the longest.
            del self._known[next(iter(self._known))]
        self._known[token] = issuer, issuer.keys, verified
        return verified

    def _of(self, head: Head) -> IssuerKeys:
        said = head.claims.get("iss")
        found = self._issuers.get(said) if isinstance(said, str) else None
        if found is None:
            raise Refused("oidc: the token is of an issuer that is not known")
        return found

    async def _later(self, token: str) -> User:
        await self._newer(token)
        try:
            return self.identify(token)[0]
        except Refused:
            raise unauthorized() from None

    async def _newer(self, token: str) -> None:
        await self._of(Head.of(token)).newer()


def _verify(token: str, head: Head, issuer: Issuer, keys: KeySet) -> Verified:
    if not keys.fitting(head):
        raise UnknownKey("oidc: verify token: no key of the issuer fits")
    if not keys.signed(token, head):
        raise Refused("oidc: verify token: failed to verify signature")
    claims = head.claims
    said = claims.get("aud")
    audiences = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    meant = tuple(audience for audience in issuer.audiences if audience in audiences)
    if not meant:
        raise Refused("oidc: verify token: the token is for another audience")
    ends: Any = claims.get("exp")
    begins: Any = claims.get("nbf", 0)
    if not _is_time(ends) or not _is_time(begins):
        raise Refused("oidc: verify token: the token says no time at which it ends")
    return Verified(user_of(issuer, claims), meant, float(begins), float(ends))


def _is_time(said: Any) -> bool:
    return isinstance(said, int | float) and not isinstance(said, bool)
