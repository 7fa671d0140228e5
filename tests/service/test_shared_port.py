"""One port for both: gRPC as before, HTTP beside it, and what neither speaks is turned away."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import grpc
import grpc.aio
import pytest
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from knarr.service.authentication import TokenAuthenticator, TokenTable, User, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.component import Component
from knarr.service.host import Host, ServerSettings
from knarr.service.web import protocol, shared_port
from knarr.service.web.hello import MOST_RECORDS, Kind, Told, told_by
from knarr.service.web.message import MOST_PARAMETERS, WebAnswer, WebFace, WebRequest
from knarr.service.web.protocol import BODY_BYTES, HEAD_FIELDS

TOKENS = TokenTable({hash_token("secret"): User("admin", groups=("system:masters",))})


WAITED = asyncio.Event()


async def face(request: WebRequest) -> WebAnswer:
    match request.path:
        case "/long":
            return WebAnswer(b"x" * 100_000)
        case "/pieces":
            return WebAnswer(_pieces())
        case "/waits":
            await WAITED.wait()
        case "/forbidden":
            return WebAnswer(b"", 403)
        case "/bug":
            raise ZeroDivisionError
        case "/who":
            return WebAnswer((request.certified.user.name if request.certified else "nobody").encode())
    return WebAnswer(f"{request.method} {request.path} {request.parameters()} {request.body.decode()}".encode())


async def _pieces() -> AsyncIterator[bytes]:
    for piece in (b"one ", b"", b"two"):
        yield piece


class Both(Component):
    name: ClassVar[str] = "both"
    ready = True

    def register(self, server: grpc.aio.Server) -> list[str]:
        return []

    async def run(self) -> None:
        await asyncio.Event().wait()

    def web(self, tokens: TokenAuthenticator | None) -> WebFace | None:
        assert tokens is TOKENS
        return face


@dataclass
class Served:
    port: int
    authority: CertificateAuthority

    def context(self, *alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.pair.certificate.decode())
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    async def ask(self, said: bytes, context: ssl.SSLContext | None = None) -> bytes:
        """All that is answered on one connection until its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context or self.context("h2", "http/1.1"))
        try:
            writer.write(said)
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    authority = CertificateAuthority.create()
    (folder / "ca.crt").write_bytes(authority.pair.certificate)
    pair = authority.issue("both", hosts=["127.0.0.1"])
    host = Host(Both(), ServerSettings("127.0.0.1:0", pair, TOKENS, web_client_ca=folder / "ca.crt"))
    await host.start()
    running = asyncio.create_task(host.run())
    try:
        yield Served(host.port, authority)
    finally:
        running.cancel()
        async with asyncio.timeout(10):
            await asyncio.gather(running, return_exceptions=True)


def _get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: x", "connection: close", *headers, "", ""]).encode()


def test_with_the_loop_of_components(tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_both_are_spoken(tmp_path))


async def test_both_are_spoken(tmp_path: Path) -> None:
    await _both_are_spoken(tmp_path)


async def _both_are_spoken(tmp_path: Path) -> None:
    async with served(tmp_path) as both:
        credentials = grpc.ssl_channel_credentials(both.authority.pair.certificate)
        async with grpc.aio.secure_channel(f"127.0.0.1:{both.port}", credentials) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            # Whoever offers both, HTTP/1.1 alone or nothing at all means HTTP.
            for context in (both.context("h2", "http/1.1"), both.context("http/1.1"), both.context()):
                said = await both.ask(_get("/a%20b?c=d"), context)
                assert said.startswith(b"HTTP/1.1 200 OK\r\n") and said.endswith(b"GET /a b {'c': ['d']} ")


async def test_a_certificate_names_its_caller(tmp_path: Path) -> None:
    async with served(tmp_path) as both:
        assert (await both.ask(_get("/who"))).endswith(b"nobody")
        both.authority.issue("someone").save(tmp_path, "client")
        context = both.context()
        context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
        assert (await both.ask(_get("/who"), context)).endswith(b"someone")


async def test_requests_follow_one_another(tmp_path: Path) -> None:
    async with served(tmp_path) as both:
        first = b"POST /one HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody"
        said = await both.ask(first + b"HEAD /two HTTP/1.1\r\nhost: x\r\n\r\n" + _get("/pieces"))
        assert said.count(b"HTTP/1.1 200 OK") == 3
        assert b"POST /one {} body" in said and b"HEAD /two" not in said
        assert said.endswith(b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_a_long_body_is_packed_for_who_takes_it(tmp_path: Path) -> None:
    async with served(tmp_path) as both:
        head, _, body = (await both.ask(_get("/long", "accept-encoding: deflate, gzip;q=0.5"))).partition(b"\r\n\r\n")
        assert b"Content-Encoding: gzip" in head and gzip.decompress(body) == b"x" * 100_000
        for accepted in ("identity", "gzip;q=0"):
            assert (await both.ask(_get("/long", f"accept-encoding: {accepted}"))).endswith(b"x" * 100_000)


async def test_bad_requests(tmp_path: Path) -> None:
    async with served(tmp_path) as both:
        fields = "".join(f"f{number}: x\r\n" for number in range(HEAD_FIELDS + 2))
        for said, status in (
            (b"what is this\r\n\r\n", b"400"),
            (f"GET / HTTP/1.1\r\n{fields}\r\n".encode(), b"431"),
            (b"GET / HTTP/1.1\r\n" + b"f:\r\n" * (HEAD_FIELDS + 2) + b"\r\n", b"431"),
            (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", b"431"),
            (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (BODY_BYTES + 1) + b"a" * (BODY_BYTES + 1), b"413"),
            # Said beforehand, it is not waited for.
            (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (BODY_BYTES + 1), b"413"),
            (_get("/?" + "a&" * MOST_PARAMETERS), b"414"),
            (_get("/bug"), b"500"),
        ):
            assert (await both.ask(said)).startswith(b"HTTP/1.1 " + status), said[:50]
        reader, writer = await asyncio.open_connection("127.0.0.1", both.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"Client sent an HTTP request to an HTTPS server." in await reader.read()
        writer.close()


async def test_who_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_port, "HELLO_SECONDS", 0.05)
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.05)
    async with served(tmp_path) as both:
        for begin in (b"", b"\x16\x03", b"PRI * HT"):
            reader, writer = await asyncio.open_connection("127.0.0.1", both.port)
            writer.write(begin)
            async with asyncio.timeout(10):
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
            writer.close()
        assert await both.ask(b"GET / HT") == b""


async def test_the_oldest_silent_one_makes_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_port, "MAX_UNDECIDED", 2)
    async with served(tmp_path) as both:
        silent = [await asyncio.open_connection("127.0.0.1", both.port) for _ in range(3)]
        async with asyncio.timeout(10):
            assert await silent[0][0].read() == b""
            assert (await both.ask(_get("/"))).startswith(b"HTTP/1.1 200")
        for _, writer in silent:
            writer.close()


async def test_who_waits_for_nothing_makes_way_strangers_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_port, "MAX_WEB", 3)
    WAITED.clear()
    async with served(tmp_path) as both, asyncio.timeout(10):

        async def begin(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", both.port, ssl=both.context())
            writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            if path != "/waits":
                await reader.readuntil(b"\r\n\r\n")
            return reader, writer

        known, strange, waiting = await begin("/long"), await begin("/forbidden"), await begin("/waits")
        assert (await both.ask(_get("/"))).startswith(b"HTTP/1.1 200")
        assert await strange[0].read() == b""
        after = [await begin("/forbidden") for _ in range(3)]
        assert await after[0][0].read() == b"" and await after[1][0].read() == b""
        await known[0].readexactly(100_000)
        WAITED.set()
        assert (await waiting[0].readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        known[1].write(_get("/"))
        assert (await known[0].read()).startswith(b"HTTP/1.1 200")
        for _, writer in (known, strange, waiting, *after):
            writer.close()


async def test_what_follows_a_body_is_no_header(tmp_path: Path) -> None:
    async with served(tmp_path) as both:
        head = b"POST /long HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        assert b"gzip" not in await both.ask(head + b"1\r\nx\r\n0\r\naccept-encoding: gzip\r\n\r\n")


async def test_a_request_to_go_on_is_not_answered_within_another_answer(tmp_path: Path) -> None:
    async with served(tmp_path) as both:
        first = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"
        second = b"POST /b HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n1"
        assert (await both.ask(second)).startswith(b"HTTP/1.1 100 ")
        assert b"HTTP/1.1 100 " not in await both.ask(first + second)


async def test_the_rest_of_a_request_has_no_more_time_for_an_answer_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.1)
    async with served(tmp_path) as both:
        assert (await both.ask(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HT")).count(b"HTTP/1.1 200") == 1


async def test_a_taken_port_is_told(tmp_path: Path) -> None:
    async with served(tmp_path) as both:
        host = Host(Both(), ServerSettings(f"127.0.0.1:{both.port}", both.authority.issue("both"), TOKENS))
        with pytest.raises(OSError):
            await host.start()


def _hello(*alpn: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = context.wrap_bio(received, sent, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        secured.do_handshake()
    return sent.read()


@pytest.mark.parametrize(
    ("alpn", "kind"),
    [(("h2",), Kind.GRPC), (("grpc-exp", "h2"), Kind.GRPC), (("h2", "http/1.1"), Kind.HTTP), (("http/1.1",), Kind.HTTP), ((), Kind.HTTP)],
)
def test_a_hello_tells(alpn: tuple[str, ...], kind: Kind) -> None:
    whole = _hello(*alpn)
    found = [told_by(whole[:count]) for count in range(1, len(whole) + 1)]
    assert all(told is None for told in found[:-1])
    assert found[-1] == (kind, True) == told_by(whole + b"more")
    # The same in records of a few bytes each.
    pieces = [whole[5:][at : at + 7] for at in range(0, len(whole) - 5, 7)]
    assert told_by(b"".join(whole[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)) == (kind, True)


def test_a_hello_comes_in_few_records() -> None:
    begin = b"".join(b"\x16\x03\x01\x00\x01" + byte for byte in (b"\x01", b"\x00", b"\x3f", b"\xff", *[b"x"] * MOST_RECORDS))
    assert told_by(begin[: MOST_RECORDS * 6]) is None
    assert told_by(begin) == (Kind.HTTP, True)


async def test_a_hello_is_looked_at_where_more_of_it_came_and_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_port, "REST_SECONDS", 0.001)
    monkeypatch.setattr(shared_port, "MOST_REST_SECONDS", 0.005)
    looks: list[int] = []
    looked = asyncio.Event()

    def look(begin: bytes) -> Told | None:
        looks.append(len(begin))
        looked.set()
        return Told(Kind.HTTP, True) if len(begin) == 3 else None

    monkeypatch.setattr(shared_port, "told_by", look)
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        finding = asyncio.create_task(shared_port._hello(here))
        there.send(b"\x16\x03")
        await looked.wait()
        # Several looks at what is there find no more.
        await asyncio.sleep(0.02)
        assert looks == [2]
        there.send(b"\x03")
        async with asyncio.timeout(10):
            assert await finding == (Kind.HTTP, True)
        assert looks == [2, 3]
    assert list(islice(shared_port._rests(0.02, 1.0), 8)) == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]


def test_no_hello() -> None:
    assert told_by(b"") is None and told_by(b"P") is None
    assert told_by(b"PRI * HTTP/2.0\r\n\r\nSM") == (Kind.GRPC, False)
    assert told_by(b"POST / HTTP/1.1") == told_by(b"\x00") == (Kind.HTTP, False)
    for broken in (b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01x", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01x"):
        assert told_by(broken) == (Kind.HTTP, True)
    assert told_by(b"\x16\x03\x01\xff\xff\x01\xff\xff\xff" + b"x" * 20_000) == (Kind.HTTP, True)
