"""The way to extenders by HTTP, with a library that is loaded for the first question alone. Time and bytes of an answer are bounded."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from knarr.client.http import open_session
from knarr.service.tls import show
from services.scheduler.extender import Extender, ExtenderFailed, ExtenderTls

# Of an answer: the nodes of a large cluster, whole.
MAX_BYTES = 256 * 1024 * 1024


class HttpWeb:
    """One session for all; made inside the loop. Connections are kept and used again."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[Extender, ssl.SSLContext | bool] = {}

    async def post(self, extender: Extender, verb: str, body: Any) -> Any:
        url = extender.url(verb)
        if self._session is None:
            self._session = open_session(timeout=aiohttp.ClientTimeout(total=None), headers={"Content-Type": "application/json"})
        name = extender.tls_config.server_name if extender.tls_config is not None else ""
        try:
            async with (
                asyncio.timeout(extender.timeout_seconds),
                self._session.post(
                    url, data=orjson.dumps(body), ssl=self._context(extender), server_hostname=name or None, allow_redirects=False
                ) as answer,
            ):
                if answer.status != 200:
                    raise ExtenderFailed(f"failed {verb} with extender at URL {url}, code {answer.status}")
                text = bytearray()
                async for chunk in answer.content.iter_any():
                    text += chunk
                    if len(text) > MAX_BYTES:
                        raise ExtenderFailed(f"extender at URL {url} answers more than {MAX_BYTES} bytes")
                return orjson.loads(text)
        except TimeoutError:
            raise ExtenderFailed(f'Post "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)') from None
        except aiohttp.ClientConnectorError as error:
            words = os.strerror(error.os_error.errno).lower() if error.os_error.errno else str(error.os_error)
            raise ExtenderFailed(f'Post "{url}": dial tcp {error.host}:{error.port}: connect: {words}') from error
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise ExtenderFailed(f'Post "{url}": {error}') from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _context(self, extender: Extender) -> ssl.SSLContext | bool:
        """Made once, when it is first needed: a file that cannot be read fails the call, not the start."""
        known = self._contexts.get(extender)
        if known is None:
            known = self._contexts[extender] = context_of(extender)
        return known


def context_of(extender: Extender) -> ssl.SSLContext | bool:
    """Whom to trust, and what to show. As in Kubernetes ``enableHTTPS`` without an authority trusts anybody."""
    tls = extender.tls_config or ExtenderTls()
    ca = tls.ca_data.decode() or (Path(tls.ca_file).read_text() if tls.ca_file else "")
    context = ssl.create_default_context(cadata=ca or None)
    if tls.insecure or (extender.enable_https and not ca):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if tls.cert_data or tls.cert_file:
        show(context, tls.cert_data or Path(tls.cert_file).read_bytes(), tls.key_data or Path(tls.key_file).read_bytes())
    return context
