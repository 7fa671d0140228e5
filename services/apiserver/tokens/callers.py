"""Whose a bearer token is, whichever kind of token it is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any

from knarr.machinery.errors import Unauthorized
from knarr.service.authentication import User, bearer_token, unauthorized
from services.apiserver.tokens.accounts import ISSUER, Refused, ServiceAccountTokens

# A longer header holds no token of ours. Also bounds what is remembered of the good ones.
AUTHORIZATION_LETTERS = 4096 + len("Bearer ")
REMEMBERED = 1024


class Callers:
    """Service accounts by their signed tokens, everybody else by ``table``. Faces ask it for each request."""

    def __init__(self, table: Callable[[str], User], accounts: ServiceAccountTokens | None = None) -> None:
        """``table`` answers the user of an ``Authorization`` header, or raises Unauthorized."""
        # Only good tokens are remembered: an exception is never cached.
        self._table = lru_cache(maxsize=REMEMBERED)(table)
        self.accounts = accounts

    def authenticate(self, authorization: str) -> User | Coroutine[Any, Any, User]:
        """The user of an ``Authorization`` header's value, or what answers him later; raises Unauthorized."""
        if len(authorization) > AUTHORIZATION_LETTERS:
            raise unauthorized()
        accounts = self.accounts
        if accounts is not None and accounts.knows(token := bearer_token(authorization)):
            return accounts.authenticate(token)
        return self._table(authorization)

    async def review(self, token: str, audiences: Sequence[str]) -> tuple[User, list[str]]:
        """Whose a token is, and for which of ``audiences``, this server's own where none are asked about; raises Refused."""
        own = self.accounts.audiences if self.accounts is not None else (ISSUER,)
        if self.accounts is not None and self.accounts.knows(token):
            return await self.accounts.review(token, list(audiences) or own)
        meant = [audience for audience in audiences or own if audience in own]
        if not meant:
            raise Refused("the token is known, and for this API server alone" if self._is_known(token) else "the token is not known")
        try:
            return self._table(f"Bearer {token}"), meant
        except Unauthorized:
            raise Refused("the token is not known") from None

    def _is_known(self, token: str) -> bool:
        try:
            self._table(f"Bearer {token}")
        except Unauthorized:
            return False
        return True
