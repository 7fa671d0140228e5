"""Tokens that a webhook knows: it is asked by a TokenReview (``authentication.k8s.io/v1``), and what it says holds for some minutes.

What is remembered are hashes of tokens, of good ones and bad ones alike, so that nobody makes the webhook work by showing the same token
again and again. While it is away nobody is known by it whose answer is not remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from knarr.machinery.errors import status_error
from knarr.service.answers import Answers
from knarr.service.authentication import AUTHENTICATED, User, unauthorized
from knarr.service.tasks import SharedTasks
from services.apiserver.tokens.accounts import ISSUER, Refused
from services.apiserver.webhooks.remote import Remote
from services.apiserver.webhooks.remote_client import RemoteClient

log = logging.getLogger(__name__)

API_VERSION = "authentication.k8s.io/v1"
# Answers that are remembered, questions at once, letters of a token, groups and extra values of a user.
REMEMBERED, AT_ONCE, MAX_TOKEN_LETTERS, MOST_GROUPS = 4096, 32, 16 * 1024, 4096
# How long one question may take, all tries together; how often it is asked, and how long it is waited in between.
ASK_SECONDS, TRIES, PAUSE_SECONDS = 30.0, 3, 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    """``user`` is None of a token that is not known."""

    user: User | None
    audiences: tuple[str, ...] = ()
    error: str = ""


class Away(Exception):
    """The webhook gave no answer that could be one."""


class WebhookTokens:
    """``close`` it when the server stops."""

    def __init__(
        self,
        remote: Remote,
        ttl_seconds: float,
        audiences: Collection[str] = (ISSUER,),
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._ttl_seconds, self._audiences, self._sleep = ttl_seconds, tuple(audiences), sleep
        self._client = RemoteClient(remote, AT_ONCE)
        self._known: Answers[bytes, Answer] = Answers(REMEMBERED)
        self._asking: SharedTasks[bytes, Answer] = SharedTasks()

    def knows(self, token: str) -> bool:
        """It may be any text."""
        return 0 < len(token) <= MAX_TOKEN_LETTERS

    def authenticate(self, token: str) -> User | Coroutine[Any, Any, User]:
        """Raises Unauthorized, or answers a coroutine that does where the webhook is to be asked."""
        known = self._known.get(_key(token, self._audiences))
        if known is None:
            return self._later(token)
        if known.user is None:
            raise unauthorized()
        return known.user

    async def review(self, token: str, audiences: Collection[str]) -> tuple[User, list[str]]:
        """Raises Refused, TooManyRequests."""
        wanted = tuple(audiences) or self._audiences
        try:
            found = await self._answer(token, wanted)
        except Away as error:
            raise Refused(f"the webhook did not answer: {error}") from None
        if found.user is None:
            raise Refused(found.error or "the token is not known")
        return found.user, [audience for audience in wanted if audience in found.audiences]

    async def close(self) -> None:
        await self._asking.close()
        await self._client.close()

    async def _later(self, token: str) -> User:
        try:
            found = await self._answer(token, self._audiences)
        except Away:
            raise unauthorized() from None
        if found.user is None:
            raise unauthorized()
        return found.user

    async def _answer(self, token: str, audiences: tuple[str, ...]) -> Answer:
        """Those who ask about the same token at once cause one question. Raises Away, TooManyRequests."""
        key = _key(token, audiences)
        if (known := self._known.get(key)) is not None:
            return known
        if key not in self._asking and len(self._asking) >= AT_ONCE:
            message = f"{AT_ONCE} questions to the webhook for tokens are under way already; try again later"
            raise status_error("TooManyRequests", message, retry_after_seconds=1)
        return await self._asking.result(key, lambda: self._ask(key, token, audiences), "apiserver/webhook for a token")

    async def _ask(self, key: bytes, token: str, audiences: tuple[str, ...]) -> Answer:
        try:
            found = _read(await self._said(token, audiences), audiences)
        except Exception as error:
            log.warning("the webhook for tokens did not answer", extra={"url": self._client.remote.url, "error": error})
            raise
        self._known.learn(key, found, self._ttl_seconds)
        return found

    async def _said(self, token: str, audiences: tuple[str, ...]) -> bytes:
        body = orjson.dumps(
            {"apiVersion": API_VERSION, "kind": "TokenReview", "spec": {"token": token, "audiences": audiences}, "status": {}}
        )
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._posted(body)
        except TimeoutError:
            raise Away(f"it took longer than {ASK_SECONDS:g} s") from None

    async def _posted(self, body: bytes) -> bytes:
        for left in reversed(range(TRIES)):
            try:
                return await self._post(body)
            except (aiohttp.ClientError, OSError) as error:
                if not left:
                    raise Away(str(error) or type(error).__name__) from error
            await self._sleep(PAUSE_SECONDS)
        raise AssertionError("unreachable")

    async def _post(self, body: bytes) -> bytes:
        answer = await self._client.post(body)
        if answer.status >= 500:
            raise aiohttp.ClientError(answer.fault)
        if answer.status not in (200, 201) or answer.body is None:
            raise Away(answer.fault if answer.body is None else f"it answered {answer.status}")
        return answer.body


def _key(token: str, audiences: tuple[str, ...]) -> bytes:
    # A token of a review may hold any letter.
    return hashlib.sha256(orjson.dumps((token, audiences))).digest()


def _read(data: bytes, audiences: tuple[str, ...]) -> Answer:
    """Raises Away for what is no answer to a TokenReview."""
    try:
        review: Any = orjson.loads(data)
        if review["kind"] != "TokenReview" or review["apiVersion"] != API_VERSION:
            raise Away(f"its answer is no TokenReview of {API_VERSION}")
        status = review.get("status") or {}
        error = str(status.get("error") or "")
        if status.get("authenticated") is not True:
            return Answer(None, error=error)
        said = status.get("audiences")
        # One that says nothing of audiences knows nothing of them: the token is for this server.
        meant = tuple(audience for audience in audiences if audience in said) if said else audiences
        if not meant:
            return Answer(None, error="the token is for another audience")
        user = status.get("user") or {}
        groups = [str(group) for group in user.get("groups") or ()]
        extra = tuple((str(key), tuple(map(str, values))) for key, values in sorted((user.get("extra") or {}).items()))
        if len(groups) + sum(len(values) for _, values in extra) > MOST_GROUPS:
            raise Away(f"a user has {MOST_GROUPS} groups and extra values at most")
        name = str(user.get("username") or "")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Away("its answer is not understood") from None
    if not name:
        return Answer(None, error="the webhook names nobody")
    return Answer(User(name, str(user.get("uid") or ""), (*groups, *(() if AUTHENTICATED in groups else (AUTHENTICATED,))), extra), meant)
