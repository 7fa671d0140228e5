"""Asks an issuer for its keys, in the background: at the start until it answers, from time to time, and when a token names a new one.

What it said last holds until it says something else: an issuer that is away shuts nobody out whose key is known. How often it is asked
does not depend on callers, and what it answers is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import orjson

from knarr.client.http import open_outside_session
from services.apiserver.identity.jwt.configuration import Issuer
from services.apiserver.identity.jwt.keys import KeySet
from services.apiserver.identity.sections import text

log = logging.getLogger(__name__)

# What an issuer may answer with, and how long it may take.
MOST_BYTES, ASK_SECONDS = 1024 * 1024, 10.0
# Between two looks; after one that failed; and between two that tokens with unknown keys cause.
REFRESH_SECONDS, RETRY_SECONDS, LEAST_SECONDS = 900.0, 10.0, 10.0
# How long a request waits for keys that are being asked for.
WAIT_SECONDS = 5.0

# Given a URL and the authorities to trust (PEM, or none), what lies there; raises OSError, aiohttp.ClientError, ValueError, TimeoutError.
Fetch = Callable[[str, str], Awaitable[bytes]]


async def fetch(url: str, authority: str) -> bytes:
    """What is answered at an https URL, with no redirect followed."""
    # The system's authorities take a tenth of a second.
    context = await asyncio.to_thread(_context, authority)
    options: dict[str, Any] = {"timeout": aiohttp.ClientTimeout(total=ASK_SECONDS), "auto_decompress": False}
    async with (
        open_outside_session(url, skip_auto_headers=("Accept-Encoding",), **options) as session,
        session.get(url, ssl=context, allow_redirects=False) as answer,
    ):
        if answer.status != 200:
            raise ValueError(f"{url} answered {answer.status}")
        data = b""
        async for piece in answer.content.iter_any():
            data += piece
            if len(data) > MOST_BYTES:
                raise ValueError(f"{url} answered more than {MOST_BYTES} bytes")
        return data


def _context(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority) if authority else ssl.create_default_context()


class IssuerKeys:
    """``run`` it beside whatever asks; ``keys`` are those that were had last, none to begin with."""

    def __init__(self, issuer: Issuer, get: Fetch = fetch) -> None:
        self.issuer, self._get = issuer, get
        self.keys = KeySet()
        # Why there are none, or no newer ones; empty while all is well.
        self.trouble = "the issuer was not asked yet"
        self._asked = asyncio.Event()
        self._wanted = asyncio.Event()
        # Whether the last question was a moment ago.
        self._rests = False

    async def run(self) -> None:
        while True:
            await self._ask()
            self._asked.set()
            self._asked = asyncio.Event()
            pause = RETRY_SECONDS if self.trouble else REFRESH_SECONDS
            self._wanted.clear()
            self._rests = True
            await asyncio.sleep(LEAST_SECONDS)
            self._rests = False
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause - LEAST_SECONDS)):
                    await self._wanted.wait()

    async def newer(self) -> None:
        """Returns once the issuer was asked again, within WAIT_SECONDS; many who wait cause one question, and none where it was asked just
        now: tokens of a stranger are not to be heard at the issuer's."""
        if self._rests:
            return
        self._wanted.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                await self._asked.wait()

    async def _ask(self) -> None:
        issuer = self.issuer
        try:
            async with asyncio.timeout(2 * ASK_SECONDS):
                said = orjson.loads(await self._get(issuer.configuration_url, issuer.authority))
                if not isinstance(said, dict) or said.get("issuer") != issuer.url:
                    raise ValueError(f"{issuer.configuration_url} speaks of another issuer")
                place = text(said, "jwks_uri", "")
                if not place.startswith("https://"):
                    raise ValueError("its jwks_uri is no https URL")
                keys = KeySet.of(await self._get(place, issuer.authority))
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            self.trouble = str(error) or type(error).__name__
            log.warning("an issuer of tokens does not say its keys", extra={"issuer": issuer.url, "error": self.trouble})
            return
        except Exception as error:
            # Who asked no more would believe for ever in a key that was withdrawn.
            self.trouble = str(error) or type(error).__name__
            log.exception("an issuer of tokens cannot be asked for its keys", extra={"issuer": issuer.url})
            return
        self.trouble = ""
        if keys.described != self.keys.described:
            # Who remembers what the former ones signed sees that these are others.
            self.keys = keys
            log.info("the keys of an issuer of tokens are known", extra={"issuer": issuer.url, "keys": len(keys.keys)})
