"""Fake DNS servers on the loopback, each with a fault of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

LOOPBACK = "127.0.0.1"
LENGTH_BYTES = 2
BIND_ATTEMPTS = 10

# From a query to what is sent back, in order; over UDP each is a datagram.
Behaviour = Callable[[dns.message.Message, str], list[bytes]]
Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class FakeUpstream:
    """``asked`` lists names, types and transports. ``behaviour`` may be changed while it runs."""

    behaviour: Behaviour
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)
    port: int = 0
    delay_seconds: float = 0.0

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def take(self, wire: bytes, transport: str, port: int) -> list[bytes]:
        query = dns.message.from_wire(wire)
        self.asked.append((query.question[0].name.to_text(), dns.rdatatype.to_text(query.question[0].rdtype), transport))
        self.ids.append(query.id)
        self.ports.add(port)
        return self.behaviour(query, transport)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, upstream: FakeUpstream) -> None:
        self._upstream = upstream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for answer in self._upstream.take(data, "udp", addr[1]):
            asyncio.get_running_loop().call_later(self._upstream.delay_seconds, self._transport.sendto, answer, addr)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def fake_upstream(behaviour: Behaviour) -> AsyncIterator[FakeUpstream]:
    """Serves UDP and TCP on one port of the loopback."""
    found = FakeUpstream(behaviour)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
            wire = await reader.readexactly(length)
            for answer in found.take(wire, "tcp", writer.get_extra_info("peername")[1]):
                writer.write(len(answer).to_bytes(LENGTH_BYTES, "big") + answer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    transport, server = await _bind(found, connected)
    try:
        yield found
    finally:
        transport.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)


async def _bind(upstream: FakeUpstream, connected: Connected) -> tuple[asyncio.DatagramTransport, asyncio.Server]:
    """UDP and TCP on one port that is free for both: the system chooses for one of them only."""
    loop = asyncio.get_running_loop()
    for attempt in range(BIND_ATTEMPTS):
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(upstream), local_addr=(LOOPBACK, 0))
        upstream.port = transport.get_extra_info("sockname")[1]
        try:
            return transport, await asyncio.start_server(connected, LOOPBACK, upstream.port)
        except OSError:
            transport.close()
            if attempt == BIND_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def reply(query: dns.message.Message, *records: str, code: str = "NOERROR", authority: tuple[str, ...] = ()) -> bytes:
    """An answer with records as in a zone file."""
    made = dns.message.make_response(query)
    made.flags |= dns.flags.RA
    made.set_rcode(dns.rcode.from_text(code))
    for section, texts in ((made.answer, records), (made.authority, authority)):
        for text in texts:
            name, ttl, kind, data = text.split(" ", 3)
            section.append(dns.rrset.from_text(name, int(ttl), "IN", kind, data))
    return made.to_wire(max_size=65535)


def address(query: dns.message.Message, transport: str) -> list[bytes]:
    """Every name has one address."""
    return [reply(query, f"{query.question[0].name} 60 A 192.0.2.80")]


def nothing(query: dns.message.Message, transport: str) -> list[bytes]:
    return []
