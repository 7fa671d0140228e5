"""The streams of port-forward: one TCP connection, relayed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc

from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.machinery.errors import bad_request, status_error
from knarr.service import endings
from knarr.service.tasks import cancel

DIAL_SECONDS = 30.0
READ_BYTES = 64 * 1024


async def forward_start(requests: AsyncIterator[Any]) -> pb.PortForwardStart:
    """The first message of a port-forward; raises BadRequest when it is another one, or names no port."""
    first = await anext(aiter(requests), None)
    if first is None or first.WhichOneof("part") != "start":
        raise bad_request("the first message must be `start`")
    start: pb.PortForwardStart = first.start
    if not 0 < start.port < 65536:
        raise bad_request(f"port {start.port} is not between 1 and 65535")
    return start


async def dial_address(address: str, port: int) -> socket.socket:
    """A connection from the node; raises ServiceUnavailable with the system's words."""
    where = f"dial tcp {address}:{port}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except TimeoutError as error:
        connection.close()
        raise status_error("ServiceUnavailable", f"{where}: i/o timeout") from error
    except OSError as error:
        connection.close()
        words = os.strerror(error.errno).lower() if error.errno else str(error)
        raise status_error("ServiceUnavailable", f"{where}: connect: {words}") from error
    except BaseException:
        connection.close()
        raise
    return connection


async def relay(connection: socket.socket, said: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Feeds the caller's bytes to the connection and yields its own, until it ends; closes it."""
    reader, writer = await asyncio.open_connection(sock=connection)
    feeder = asyncio.create_task(_feed(writer, said), name="kubelet/portforward")
    try:
        with suppress(ConnectionError):
            while data := await reader.read(READ_BYTES):
                yield data
    finally:
        await cancel([feeder])
        await endings.close(writer)


async def _feed(writer: asyncio.StreamWriter, said: AsyncIterator[bytes]) -> None:
    with suppress(OSError, grpc.RpcError):
        async for data in said:
            writer.write(data)
            await writer.drain()
        writer.write_eof()
