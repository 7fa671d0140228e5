"""Whose a bearer token is, whichever kind of token it is.

The kinds are asked in one order: service accounts, bootstrap tokens, other issuers, the table, the webhook. One that says no lets the next
one be asked that takes tokens of this form; but what one of the cluster's own keys has signed is judged by that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import lru_cache
from typing import Any, Protocol

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Unauthorized, error_of
from knarr.service.authentication import User, bearer_token, unauthorized
from services.apiserver.tokens.accounts import ISSUER, Refused, ServiceAccountTokens

# A longer header holds no token of any kind.
MAX_TOKEN_LETTERS = 16 * 1024
AUTHORIZATION_LETTERS = MAX_TOKEN_LETTERS + len("Bearer ")
REMEMBERED, REMEMBERED_LETTERS = 1024, 4096
NOT_KNOWN = "the token is not known"


class Kind(Protocol):
    """One kind of tokens."""

    def knows(self, token: str) -> bool:
        """Whether a text has the form of such a token; costs next to nothing."""
        ...

    def authenticate(self, token: str) -> User | Coroutine[Any, Any, User]:
        """Its owner; raises Unauthorized, or answers a coroutine that does."""
        ...

    async def review(self, token: str, audiences: Collection[str]) -> tuple[User, list[str]]:
        """Its owner, and for which of ``audiences`` it is (this server's own, where none are asked about); raises Refused."""
        ...


class Table:
    """Tokens that are listed: for this API server alone."""

    def __init__(self, table: Callable[[str], User], audiences: Sequence[str]) -> None:
        """``table`` answers the user of an ``Authorization`` header, or raises Unauthorized."""
        self._ask, self._audiences = table, audiences
        # Only good tokens are remembered: an exception is never cached.
        self._known = lru_cache(maxsize=REMEMBERED)(table)

    def knows(self, token: str) -> bool:
        return len(token) <= REMEMBERED_LETTERS

    def authenticate(self, token: str) -> User:
        return self._known(f"Bearer {token}")

    async def review(self, token: str, audiences: Collection[str]) -> tuple[User, list[str]]:
        try:
            user = self.authenticate(token)
        except Unauthorized:
            raise Refused(NOT_KNOWN) from None
        meant = [audience for audience in audiences or self._audiences if audience in self._audiences]
        if not meant:
            raise Refused("the token is known, and for this API server alone")
        return user, meant


class Callers:
    """Faces ask it for each request."""

    def __init__(
        self,
        table: Callable[[str], User],
        accounts: ServiceAccountTokens | None = None,
        *,
        before: Sequence[Kind] = (),
        behind: Sequence[Kind] = (),
    ) -> None:
        """``table`` answers the user of an ``Authorization`` header, or raises Unauthorized; the others are asked before and behind it."""
        self.accounts = accounts
        self._audiences = accounts.audiences if accounts is not None else (ISSUER,)
        self._kinds: tuple[Kind, ...] = (*before, Table(table, self._audiences), *behind)

    def authenticate(self, authorization: str) -> User | Coroutine[Any, Any, User]:
        """The user of an ``Authorization`` header's value, or what answers him later; raises Unauthorized."""
        if len(authorization) > AUTHORIZATION_LETTERS:
            raise unauthorized()
        token, accounts = bearer_token(authorization), self.accounts
        if accounts is not None and accounts.knows(token):
            return accounts.authenticate(token)
        if not token:
            raise unauthorized()
        # Not the error itself: it would hold this frame, and what is in it, until the garbage is looked for.
        refusal: meta.Status | None = None
        for at, kind in enumerate(self._kinds):
            if not kind.knows(token):
                continue
            try:
                found = kind.authenticate(token)
            except Unauthorized as error:
                refusal = error.status
                continue
            return found if isinstance(found, User) or at == len(self._kinds) - 1 else self._later(found, token, at + 1)
        raise error_of(refusal) if refusal is not None else unauthorized()

    async def _later(self, asking: Coroutine[Any, Any, User], token: str, at: int) -> User:
        """What one kind answers later, or those behind it."""
        try:
            return await asking
        except Unauthorized:
            for kind in self._kinds[at:]:
                if kind.knows(token):
                    try:
                        found = kind.authenticate(token)
                        return found if isinstance(found, User) else await found
                    except Unauthorized:
                        continue
            raise

    async def review(self, token: str, audiences: Sequence[str]) -> tuple[User, list[str]]:
        """Whose a token is, and for which of ``audiences``, this server's own where none are asked about; raises Refused."""
        if self.accounts is not None and self.accounts.knows(token):
            return await self.accounts.review(token, list(audiences) or self._audiences)
        refusal = Refused(NOT_KNOWN)
        for kind in self._kinds if 0 < len(token) <= MAX_TOKEN_LETTERS else ():
            if kind.knows(token):
                try:
                    return await kind.review(token, audiences)
                except Refused as error:
                    # Whoever takes the token for his own says the most about it.
                    refusal = error if str(refusal) == NOT_KNOWN else refusal
        raise refusal
