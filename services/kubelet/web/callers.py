"""Who asks a kubelet by HTTPS: whom the certificate names that the connection has shown, or whom the API server knows by the token."""

from __future__ import annotations

import time
from collections.abc import Callable

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.client.client import Client
from knarr.machinery.errors import Unauthorized
from knarr.service.answers import Answers
from knarr.service.authentication import TokenAuthenticator, User, bearer_token, hash_token, unauthorized
from knarr.service.reviews import reviewed
from knarr.service.tasks import SharedTasks
from knarr.service.web.message import WebRequest

# How long the API server's word about a token holds, as in Kubernetes; and how long its no.
REMEMBERED_SECONDS, REFUSED_SECONDS = 120.0, 10.0
REMEMBERED = 1024
# No token is longer.
MOST_LETTERS = 16 * 1024


class Callers:
    """``tokens`` knows the API server itself, where it shows a token."""

    def __init__(self, client: Client, tokens: TokenAuthenticator | None, now: Callable[[], float] = time.time) -> None:
        """``client`` is one that may create TokenReviews."""
        self._client, self._tokens, self._now = client, tokens, now
        # By the hash of a token: who it is, or a word that nobody is.
        self._known: Answers[str, User | str] = Answers(REMEMBERED)
        self._asking: SharedTasks[str, User | str] = SharedTasks()

    async def user(self, request: WebRequest) -> User:
        """Raises Unauthorized, ServiceUnavailable where the API server cannot be asked. A token that is wrong is refused even beside a good
        certificate."""
        authorization = request.headers.get("authorization", "")
        if authorization:
            return await self._by_token(authorization)
        user = request.certified.at(self._now()) if request.certified is not None else None
        if user is None:
            raise unauthorized()
        return user

    async def _by_token(self, authorization: str) -> User:
        token = bearer_token(authorization)
        if not token or len(token) > MOST_LETTERS:
            raise unauthorized()
        if self._tokens is not None:
            try:
                found = self._tokens.authenticate(authorization)
                return found if isinstance(found, User) else await found
            except Unauthorized:
                pass
        key = hash_token(token)
        known = self._known.get(key)
        if known is None:
            known = await self._asking.result(key, lambda: self._ask(key, token), "token review")
        if isinstance(known, str):
            raise unauthorized()
        return known

    async def _ask(self, key: str, token: str) -> User | str:
        answer = await self._review(token)
        self._known.learn(key, answer, REFUSED_SECONDS if isinstance(answer, str) else REMEMBERED_SECONDS)
        return answer

    async def _review(self, token: str) -> User | str:
        review = authentication.TokenReview()
        review.spec.token = token
        status = (await reviewed(self._client, review, "whose token this is")).status
        if not status.authenticated:
            return status.error or "not authenticated"
        told = status.user
        extra = tuple((name, tuple(told.extra[name].items)) for name in sorted(told.extra))
        return User(told.username, told.uid, tuple(told.groups), extra)
