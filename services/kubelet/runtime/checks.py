"""Probing over the network: HTTP, TCP and gRPC health, in Kubernetes' words."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl

import aiohttp
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from knarr.client.channel import open_plain_channel
from knarr.client.http import open_session
from knarr.machinery.version import MAJOR, MINOR
from services.kubelet.runtime.port import GrpcCheck, HttpCheck, ProbeResult, TcpCheck

MAX_BODY_BYTES = 10 * 1024
USER_AGENT = f"kube-probe/{MAJOR}.{MINOR}"


async def check_network(check: HttpCheck | TcpCheck | GrpcCheck, timeout_seconds: float) -> ProbeResult:
    """Asks once; never raises for what the other side does."""
    if isinstance(check, HttpCheck):
        return await _http(check, timeout_seconds)
    if isinstance(check, TcpCheck):
        return await _tcp(check, timeout_seconds)
    return await _grpc(check, timeout_seconds)


async def _http(check: HttpCheck, timeout_seconds: float) -> ProbeResult:
    url = f"{check.scheme.lower()}://{check.host}:{check.port}{check.path}"
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close", **dict(check.headers)}
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    try:
        async with (
            open_session(timeout=timeout) as session,
            session.get(url, headers=headers, ssl=_unverified() if check.scheme == "HTTPS" else True) as response,
        ):
            body = (await response.content.read(MAX_BODY_BYTES)).decode(errors="replace")
            if 200 <= response.status < 400:
                return ProbeResult(True, body)
            return ProbeResult(False, f"HTTP probe failed with statuscode: {response.status}")
    except TimeoutError:
        return ProbeResult(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')
    except aiohttp.ClientConnectorError as error:
        return ProbeResult(False, f'Get "{url}": dial tcp {check.host}:{check.port}: connect: {_words(error.os_error)}')
    except aiohttp.ClientError as error:
        return ProbeResult(False, f'Get "{url}": {error or type(error).__name__}')


@functools.cache
def _unverified() -> ssl.SSLContext:
    """A probe does not judge certificates. Made once: a context reads all of the machine's authorities, which takes milliseconds."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _tcp(check: TcpCheck, timeout_seconds: float) -> ProbeResult:
    where = f"dial tcp {check.host}:{check.port}"
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(check.host, check.port)
    except TimeoutError:
        return ProbeResult(False, f"{where}: i/o timeout")
    except OSError as error:
        return ProbeResult(False, f"{where}: connect: {_words(error)}")
    writer.close()
    return ProbeResult(True)


async def _grpc(check: GrpcCheck, timeout_seconds: float) -> ProbeResult:
    address = f"{check.host}:{check.port}"
    async with open_plain_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=check.service), timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            return ProbeResult(False, f"error: health rpc probe failed: {error.code().name}: {error.details()}")
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ProbeResult(True)
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return ProbeResult(False, f"service unhealthy (responded with {name!r})")


def _words(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
