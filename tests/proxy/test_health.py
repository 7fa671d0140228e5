"""Health checks as load balancers ask them: who answers, what and when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

from services.proxy.health import HealthChecks
from services.proxy.routing.table import LOCAL, Change, Route, RouteKey
from tests.support.ports import free_port


def route(port: int, *ready: str, name: str = "edge", port_name: str = "") -> Route:
    return Route(
        RouteKey("default", name, port_name), "tcp", (), 80, 30080, external_policy=LOCAL, health_check_port=port, local_ready=ready
    )


@contextlib.asynccontextmanager
async def running(*, healthy: bool = True) -> AsyncIterator[HealthChecks]:
    checks = HealthChecks(lambda: healthy, 0.02, "127.0.0.1")
    task = asyncio.create_task(checks.run())
    try:
        async with asyncio.timeout(20):
            yield checks
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ask(port: int, request: bytes = b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n") -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body); waits until somebody listens."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body


async def closed(port: int) -> None:
    """Waits until nobody listens any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await writer.wait_closed()


async def test_the_answer_follows_the_nodes_endpoints() -> None:
    port = free_port()
    async with running() as checks:
        one, more = route(port, "10.244.0.1", "10.244.0.2"), route(port, "10.244.0.1", port_name="more")
        checks.put(Change(added=(one, more)))
        status, headers, body = await ask(port)
        assert (status, headers["Content-Type"], headers["X-Load-Balancing-Endpoint-Weight"]) == (200, "application/json", "2")
        assert json.loads(body) == {"service": {"namespace": "default", "name": "edge"}, "localEndpoints": 2, "serviceProxyHealthy": True}
        status, headers, body = await ask(port, b"HEAD / HTTP/1.0\r\n\r\n")
        assert (status, body) == (200, b"") and int(headers["Content-Length"]) > 0
        gone = tuple((before, replace(before, local_ready=())) for before in (one, more))
        checks.put(Change(updated=gone))
        status, headers, body = await ask(port)
        assert (status, headers["X-Load-Balancing-Endpoint-Weight"], json.loads(body)["localEndpoints"]) == (503, "0", 0)
        checks.put(Change(removed=(route(port), route(port, port_name="more"))))
        await closed(port)


async def test_a_node_without_a_datapath_is_not_healthy() -> None:
    port = free_port()
    async with running(healthy=False) as checks:
        checks.put(Change(added=(route(port, "10.244.0.1"),)))
        status, _, body = await ask(port)
        assert status == 503 and json.loads(body)["serviceProxyHealthy"] is False


async def test_a_port_that_is_taken_is_said_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running() as checks:
            checks.put(Change(added=(route(port, "10.244.0.1"),)))
            while not checks.problems:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert f"healthCheckNodePort {port}" in checks.problems["default", "edge"]
            taken.close()
            assert (await ask(port))[0] == 200
            assert not checks.problems


async def test_nonsense_is_not_answered_and_does_no_harm() -> None:
    port = free_port()
    async with running() as checks:
        checks.put(Change(added=(route(port, "10.244.0.1"),)))
        await ask(port)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 100_000)
        writer.write_eof()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert (await ask(port))[0] == 200
