"""The call of a server that a kubeconfig names: a question in JSON is posted, and what it answers comes back whole."""

from __future__ import annotations

from typing import Any, NamedTuple

import aiohttp

from knarr.client.http import open_outside_session
from services.apiserver.webhooks.remote import Remote

# Of an answer.
MOST_BYTES = 1024 * 1024
HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "knarr-apiserver"}


class Answered(NamedTuple):
    """``body`` is None where the status is no success, and where it is too large."""

    status: int
    body: bytes | None

    @property
    def fault(self) -> str:
        """What is wrong with an answer without a body."""
        return f"its answer has more than {MOST_BYTES} bytes" if 200 <= self.status < 300 else f"it answered {self.status}"


class RemoteClient:
    """``close`` it when it asks no more. Redirects are not followed; who asks says how long it may take.

    So many ``connections`` are kept at most; who comes later waits.
    """

    def __init__(self, remote: Remote, connections: int) -> None:
        self.remote, self._connections = remote, connections
        self._session: aiohttp.ClientSession | None = None

    async def post(self, question: bytes) -> Answered:
        """Raises aiohttp.ClientError, OSError."""
        remote = self.remote
        if self._session is None:
            # Of what is packed, some bytes could become many; and it is asked what it was asked before, whatever it has set.
            options: dict[str, Any] = {"auto_decompress": False, "skip_auto_headers": ("Accept-Encoding",)}
            options |= {"timeout": aiohttp.ClientTimeout(total=None), "cookie_jar": aiohttp.DummyCookieJar()}
            connector, headers = aiohttp.TCPConnector(limit=self._connections), {**HEADERS, **remote.headers}
            self._session = open_outside_session(remote.url, connector=connector, headers=headers, **options)
        tls: Any = remote.context if remote.context is not None else True
        asking = self._session.post(remote.url, data=question, ssl=tls, allow_redirects=False, server_hostname=remote.server_name or None)
        async with asking as answer:
            return Answered(answer.status, await _body(answer) if 200 <= answer.status < 300 else None)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def _body(answer: aiohttp.ClientResponse) -> bytes | None:
    found = b""
    async for piece in answer.content.iter_any():
        found += piece
        if len(found) > MOST_BYTES:
            answer.close()
            return None
    return found
