"""Probing over the network: HTTP, TCP and gRPC health, in Kubernetes' words. A probe does not judge certificates."""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import Any
from urllib.parse import unquote

import aiohttp
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from multidict import CIMultiDict
from yarl import URL

from knarr.client.channel import open_plain_channel
from knarr.client.http import open_session
from knarr.machinery.version import MAJOR, MINOR
from knarr.service.tls import unverified_context
from services.kubelet.runtime.check_words import address, dialled, system_words
from services.kubelet.runtime.http2 import ALPN, Answer, Http2Error, connected, exchange
from services.kubelet.runtime.port import GrpcCheck, HttpCheck, ProbeResult, TcpCheck

MAX_BODY_BYTES = 10 * 1024
# As Go's client, which Kubernetes probes with.
MAX_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Nothing is decompressed: ten kibibytes may become ten mebibytes, and a probe asks for none of it.
SESSION: dict[str, Any] = {
    "timeout": aiohttp.ClientTimeout(total=None),
    "auto_decompress": False,
    "skip_auto_headers": ["Accept-Encoding", "User-Agent", "Accept"],
}
HEALTH_PATH = "/grpc.health.v1.Health/Check"
# Before each message stands whether it is compressed, and its length.
GRPC_HEAD_BYTES = 5
USER_AGENT, HOOK_AGENT = f"kube-probe/{MAJOR}.{MINOR}", f"kube-lifecycle/{MAJOR}.{MINOR}"


async def check_network(check: HttpCheck | TcpCheck | GrpcCheck, timeout_seconds: float) -> ProbeResult:
    """Asks once; never raises, neither for what the other side does nor for a host or header that nobody could send."""
    try:
        if isinstance(check, HttpCheck):
            return await (_http2 if check.http2 else _http)(check, timeout_seconds)
        if isinstance(check, TcpCheck):
            return await _tcp(check, timeout_seconds)
        return await (_grpc_tls if check.tls else _grpc)(check, timeout_seconds)
    except (ValueError, OverflowError) as error:
        return ProbeResult(False, f"the probe cannot be sent: {error}")


async def _http(check: HttpCheck, timeout_seconds: float) -> ProbeResult:
    url = _url(check)
    try:
        async with open_session(**SESSION) as session, asyncio.timeout(timeout_seconds):
            return await _follow(session, check, URL(url))
    except TimeoutError:
        return ProbeResult(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')
    except aiohttp.ClientConnectorError as error:
        return ProbeResult(False, f'Get "{url}": {dialled(check.host, check.port, error.os_error)}')
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError):
        return ProbeResult(False, f'Get "{url}": EOF')
    except aiohttp.ClientError as error:
        return ProbeResult(False, f'Get "{url}": {str(error) or type(error).__name__}')


def _url(check: HttpCheck) -> str:
    return f"{check.scheme.lower()}://{address(check.host, check.port)}{check.path}"


async def _follow(session: aiohttp.ClientSession, check: HttpCheck, url: URL) -> ProbeResult:
    headers = _headers(check)
    headers.setdefault("Connection", "close")
    for _ in range(MAX_REDIRECTS):
        verify: bool | ssl.SSLContext = unverified_context() if url.scheme == "https" else True
        async with session.get(url, headers=headers, ssl=verify, allow_redirects=False) as response:
            target = _redirected(url, response.status, response.headers.get("Location", ""))
            if target is None:
                return _judged(check, response.status, (await _beginning(response)).decode(errors="replace"))
        url = target
    return ProbeResult(False, f'Get "{url}": stopped after {MAX_REDIRECTS} redirects')


def _redirected(url: URL, status: int, location: str) -> URL | None:
    """Whom to ask next, on the host that is probed only: a pod must not have its node ask others for it. None: nobody."""
    target = url.join(URL(location)) if location and status in REDIRECTS else None
    return target if target is not None and target.host == url.host and target.scheme in ("http", "https") else None


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The body, or its first MAX_BODY_BYTES. An answer that does not come that far in time is none."""
    found = bytearray()
    while len(found) < MAX_BODY_BYTES and (piece := await response.content.read(MAX_BODY_BYTES - len(found))):
        found += piece
    return bytes(found)


async def _http2(check: HttpCheck, timeout_seconds: float) -> ProbeResult:
    """As over HTTP/1.1, each redirect on a connection of its own."""
    url = URL(_url(check))
    try:
        async with asyncio.timeout(timeout_seconds):
            for _ in range(MAX_REDIRECTS):
                found = await _get(check, url)
                target = _redirected(url, found.status, found.headers.get("location", ""))
                if target is None:
                    return _judged(check, found.status, found.body.decode(errors="replace"))
                url = target
    except TimeoutError:
        return ProbeResult(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')
    except OSError as error:
        return ProbeResult(False, f'Get "{url}": {dialled(check.host, check.port, error)}')
    except Http2Error as error:
        return ProbeResult(False, f'Get "{url}": http2: {error}')
    return ProbeResult(False, f'Get "{url}": stopped after {MAX_REDIRECTS} redirects')


async def _get(check: HttpCheck, url: URL) -> Answer:
    """Host and connection are HTTP/2's own affair: what a probe says of them goes where they stand there."""
    given = _headers(check)
    authority = given.popall("Host", [address(check.host, url.port or 0)])[0]
    given.popall("Connection", None)
    own = [(":method", "GET"), (":scheme", url.scheme), (":authority", authority), (":path", url.raw_path_qs)]
    async with connected(check.host, url.port or 0, unverified_context(ALPN) if url.scheme == "https" else None) as connection:
        return await exchange(connection, [*own, *((name.lower(), value) for name, value in given.items())], None, MAX_BODY_BYTES)


def _headers(check: HttpCheck) -> CIMultiDict[str]:
    """Those of the check, and who asks for what. Whoever wants none of these says so by an empty one, as in Kubernetes; an empty host is
    the one that is asked."""
    headers = CIMultiDict(check.headers)
    for name, value in (("User-Agent", HOOK_AGENT if check.hook else USER_AGENT), ("Accept", "*/*"), ("Host", "")):
        headers.setdefault(name, value)
        if not headers[name]:
            headers.popall(name)
    return headers


def _judged(check: HttpCheck, status: int, body: str) -> ProbeResult:
    if check.hook or 200 <= status < 300:
        return ProbeResult(True, body)
    if 300 <= status < 400:
        return ProbeResult(True, f"Probe terminated redirects, Response body: {body}", warning=True)
    return ProbeResult(False, f"HTTP probe failed with statuscode: {status}")


async def _tcp(check: TcpCheck, timeout_seconds: float) -> ProbeResult:
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(check.host, check.port)
    except TimeoutError:
        return ProbeResult(False, f"dial tcp {address(check.host, check.port)}: i/o timeout")
    except OSError as error:
        return ProbeResult(False, dialled(check.host, check.port, error))
    writer.close()
    return ProbeResult(True)


async def _grpc(check: GrpcCheck, timeout_seconds: float) -> ProbeResult:
    async with open_plain_channel(address(check.host, check.port)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=check.service), timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            return ProbeResult(False, f"error: health rpc probe failed: {error.code().name}: {error.details()}")
    return _health(answer)


async def _grpc_tls(check: GrpcCheck, timeout_seconds: float) -> ProbeResult:
    """By hand: gRPC's own channels take no server whose certificate nobody vouches for, which is what pods have."""
    wanted, where = health_pb2.HealthCheckRequest(service=check.service).SerializeToString(), address(check.host, check.port)
    own = [(":method", "POST"), (":scheme", "https"), (":authority", where), (":path", HEALTH_PATH)]
    headers = [*own, ("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", USER_AGENT)]
    failed = "error: health rpc probe failed"
    try:
        async with asyncio.timeout(timeout_seconds), connected(check.host, check.port, unverified_context(ALPN)) as connection:
            found = await exchange(connection, headers, struct.pack("!BI", 0, len(wanted)) + wanted, MAX_BODY_BYTES)
    except TimeoutError:
        return ProbeResult(False, f'timeout: failed to connect service "{where}" within {timeout_seconds:g}s')
    except (Http2Error, OSError) as error:
        return ProbeResult(False, f"{failed}: {system_words(error) if isinstance(error, OSError) else error}")
    ends = found.trailers or found.headers
    if ends.get("grpc-status") != "0" or len(found.body) < GRPC_HEAD_BYTES:
        told = unquote(ends.get("grpc-message", "")) or f"HTTP status {found.status}"
        return ProbeResult(False, f"{failed}: {_code(ends.get('grpc-status', ''))}: {told}")
    try:
        return _health(health_pb2.HealthCheckResponse.FromString(found.body[GRPC_HEAD_BYTES:]))
    except DecodeError as error:
        return ProbeResult(False, f"{failed}: {error}")


def _code(text: str) -> str:
    """The name of a status by its number."""
    return next((code.name for code in grpc.StatusCode if str(code.value[0]) == text), "UNKNOWN")


def _health(answer: health_pb2.HealthCheckResponse) -> ProbeResult:
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ProbeResult(True)
    try:
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    except ValueError:
        name = str(answer.status)
    return ProbeResult(False, f"service unhealthy (responded with {name!r})")
