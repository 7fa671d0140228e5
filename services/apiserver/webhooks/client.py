"""The call of a webhook: a body is posted, and what it answers comes back whole.

One client for all webhooks of a server. Connections are kept and used again, a few for each webhook. What a webhook does with the time,
the bytes and the connections is bounded here; redirects are not followed, and no proxy that the environment names.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import aiohttp
import orjson

from knarr.client.http import open_session
from knarr.client.proxies import proxy_of
from knarr.machinery.errors import StatusError
from services.apiserver.aside import in_turn
from services.apiserver.ways import Connect, Ways
from services.apiserver.webhooks.connector import ServiceConnector
from services.apiserver.webhooks.hook import Hook

# Of an answer. An object has at most some MiB, and one call asks about a MiB of them, or about one.
MAX_BYTES = 16 * 1024 * 1024
# Unless others are given.
CONNECTIONS, CONNECTIONS_OF_A_HOOK = 128, 16
KEPT_SECONDS = 60.0
CONTEXTS = 256
HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "knarr-apiserver"}
SHOWN_LETTERS = 200


class HookFailed(Exception):
    """No answer came that could be one: the webhook is away, slow, not who it should be, or says something else than 200."""


class Course:
    """Of a call: whether it went over a connection that was there before."""

    reused = False


class WebhookClient:
    """``close`` it when the server stops. It is made before there is a loop; sessions are opened with the first call.

    ``connections`` are kept at most, so many of them to one webhook; who comes later waits, within the call's time.
    """

    def __init__(self, ways: Ways, connections: int = CONNECTIONS, connections_of_a_hook: int = CONNECTIONS_OF_A_HOOK) -> None:
        self._ways, self._connections, self._connections_of_a_hook = ways, connections, connections_of_a_hook
        self._to_services: tuple[aiohttp.ClientSession, ServiceConnector] | None = None
        self._to_urls: aiohttp.ClientSession | None = None
        self._contexts: dict[bytes, ssl.SSLContext] = {}
        self._trusting = asyncio.Lock()
        self._trace = aiohttp.TraceConfig()
        self._trace.on_connection_reuseconn.append(_reused)

    async def post(self, hook: Hook, body: bytes, timeout_seconds: float, *, again: bool = True) -> bytes:
        """What the webhook answers, at most MAX_BYTES. Raises HookFailed within ``timeout_seconds``.

        ``again``: where a kept connection ended before anything was answered, it is asked once more over another one. Mostly it had ended
        before; but nobody can tell whether the webhook has read the question, and so whoever does something must not be asked twice.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                course = Course()
                try:
                    return await self._post(hook, body, course)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    if not (again and course.reused):
                        raise
                    return await self._post(hook, body, course)
        except TimeoutError:
            raise _failed(hook, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise _failed(hook, _certificate_words(error.certificate_error)) from error
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise _failed(hook, _words(error)) from error
        except StatusError as error:
            raise _failed(hook, error.status.message) from error

    async def _post(self, hook: Hook, body: bytes, course: Course) -> bytes:
        session, context = self._session(hook), await self._context(hook.ca_bundle)
        options: dict[str, Any] = {"ssl": context, "allow_redirects": False, "trace_request_ctx": course}
        if hook.service is None:
            options["proxy"] = proxy_of(hook.url)
        async with session.post(hook.url, data=body, headers=HEADERS, **options) as answer:
            found = await _read(hook, answer)
            if not 200 <= answer.status <= 206:
                raise HookFailed(_status_words(answer.status, answer.headers.get("Location", ""), found))
            return found

    async def _context(self, ca_bundle: bytes) -> ssl.SSLContext:
        """Made aside when it is first asked for: the system's authorities, or a bundle of some MiB, take a tenth of a second. Raises
        ValueError."""
        if (found := self._contexts.get(ca_bundle)) is not None:
            return found
        # One for all who ask at once: connections are told apart by it.
        async with self._trusting:
            if (found := self._contexts.get(ca_bundle)) is None:
                found = await in_turn(context_of, ca_bundle)
                if len(self._contexts) >= CONTEXTS:
                    self._contexts.clear()
                self._contexts[ca_bundle] = found
            return found

    def _session(self, hook: Hook) -> aiohttp.ClientSession:
        limits: dict[str, Any] = {"limit": self._connections, "limit_per_host": self._connections_of_a_hook}
        limits["keepalive_timeout"] = KEPT_SECONDS
        # The time is the call's; of what is packed, some bytes could become many.
        options: dict[str, Any] = {"timeout": aiohttp.ClientTimeout(total=None), "auto_decompress": False}
        options["skip_auto_headers"] = ("Accept-Encoding",)
        # A webhook is asked what it was asked before, whatever it has set.
        options["cookie_jar"] = aiohttp.DummyCookieJar()
        options["trace_configs"] = [self._trace]
        if hook.service is None:
            if self._to_urls is None:
                self._to_urls = open_session(connector=aiohttp.TCPConnector(**limits), **options)
            return self._to_urls
        if self._to_services is None:
            connector = ServiceConnector(self._way_to, **limits)
            self._to_services = open_session(connector=connector, **options), connector
        return self._to_services[0]

    def _way_to(self, host: str, port: int) -> Connect:
        """Of the host that a Hook with a Service names."""
        name, namespace, _ = host.split(".")
        return self._ways.to_service(namespace, name, port)

    async def close(self) -> None:
        if self._to_urls is not None:
            await self._to_urls.close()
        if self._to_services is not None:
            session, connector = self._to_services
            await session.close()
            await connector.end()


async def _reused(session: aiohttp.ClientSession, context: Any, params: Any) -> None:
    context.trace_request_ctx.reused = True


async def _read(hook: Hook, answer: aiohttp.ClientResponse) -> bytes:
    pieces, room = [], MAX_BYTES
    async for piece in answer.content.iter_any():
        room -= len(piece)
        if room < 0:
            answer.close()
            raise HookFailed(f'Post "{hook.url}": the answer has more than {MAX_BYTES} bytes')
        pieces.append(piece)
    return b"".join(pieces)


def context_of(ca_bundle: bytes) -> ssl.SSLContext:
    """Raises ValueError for a bundle that has no certificate."""
    if not ca_bundle.strip():
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=ca_bundle.decode())
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise ValueError("unable to load root certificates: unable to parse bytes as PEM block") from error


def _failed(hook: Hook, words: str) -> HookFailed:
    return HookFailed(f'Post "{hook.url}": {words}')


def _certificate_words(error: Exception) -> str:
    """Go's words for the usual ones."""
    found = getattr(error, "verify_message", "") or str(error)
    if "expired" in found or "not yet valid" in found:
        return f"x509: certificate has expired or is not yet valid: {found}"
    if "mismatch" in found.lower() or "doesn't match" in found:
        return f"x509: certificate is not valid for the name: {found}"
    return f"x509: certificate signed by unknown authority: {found}"


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"dial tcp {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    return str(error) or type(error).__name__


def _status_words(status: int, location: str, body: bytes) -> str:
    """Those of a Status, if the webhook answers one; else what Kubernetes' clients say of such a code."""
    if 300 <= status < 400:
        return f"the webhook answered {status} and leads elsewhere ({location[:SHOWN_LETTERS]}): redirects are not followed"
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and found.get("kind") == "Status" and found.get("message"):
        return str(found["message"])[:SHOWN_LETTERS]
    if status == 404:
        return "the server could not find the requested resource"
    text = body[: SHOWN_LETTERS * 4].decode(errors="replace")[:SHOWN_LETTERS].strip()
    if status >= 500:
        return f"an error on the server ({orjson.dumps(text or 'unknown').decode()}) has prevented the request from succeeding"
    return f"the webhook answered {status}: {text}" if text else f"the webhook answered {status}"
