"""The REST face shows a new connection the certificate that lies in its files by then, and trusts clients of the authority there."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from knarr.machinery.catalog import registry
from knarr.service.authentication import TokenTable
from knarr.service.certificates import CertificateAuthority
from knarr.service.tls import tls_context
from services.apiserver.rest.application import create_app
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import HttpClient
from tests.support.loops import new_uvloop


def shown(port: int) -> str:
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).subject.rfc4514_string()


async def follow(folder: Path) -> None:
    authority, another = CertificateAuthority.create(), CertificateAuthority.create("another")
    authority.pair.save(folder, "ca")
    authority.issue("first", hosts=["127.0.0.1"]).save(folder, "server")
    context = tls_context(*(str(folder / name) for name in ("server.crt", "server.key", "ca.crt")))
    server = RestServer(create_app(FakeApi(), TokenTable({}), registry()), context)
    await server.start()
    try:
        assert await asyncio.to_thread(shown, server.port) == "CN=first"
        authority.issue("second", hosts=["127.0.0.1"]).save(folder, "server")
        assert await asyncio.to_thread(shown, server.port) == "CN=second"
        (folder / "server.crt").write_bytes(b"")
        assert await asyncio.to_thread(shown, server.port) == "CN=second"
        (folder / "ca.crt").write_bytes(authority.pair.certificate + another.pair.certificate)
        (folder / "all.crt").write_bytes((folder / "ca.crt").read_bytes())
        another.issue("carol").save(folder, "carol")
        carol = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        carol.load_cert_chain(folder / "carol.crt", folder / "carol.key")
        async with HttpClient(server.port, carol) as client:
            assert (await client.get("/version")).status == 200
        # Whoever is trusted no more lets nobody in, nor stay.
        authority.issue("dave").save(folder, "dave")
        dave = ssl.create_default_context(cafile=str(folder / "all.crt"))
        dave.load_cert_chain(folder / "dave.crt", folder / "dave.key")
        async with HttpClient(server.port, dave) as client:
            assert (await client.get("/version")).status == 200
            (folder / "ca.crt").write_bytes(another.pair.certificate)
            assert await asyncio.to_thread(shown, server.port) == "CN=second"
            with pytest.raises((OSError, EOFError)):
                await client.get("/version")
        with pytest.raises((OSError, EOFError)):
            async with HttpClient(server.port, dave) as client:
                await client.get("/version")
        async with HttpClient(server.port, carol) as client:
            assert (await client.get("/version")).status == 200
    finally:
        await server.stop()


def taken_up(port: int, context: ssl.SSLContext) -> list[tuple[bool | None, bytes]]:
    """Of a first connection and one that takes up its session: whether it does, and the line that is answered."""
    session, found = None, []
    for _ in range(2):
        plain = socket.create_connection(("127.0.0.1", port))
        with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as connection:
            connection.sendall(b"GET /api HTTP/1.1\r\nhost: x\r\n\r\n")
            found.append((connection.session_reused, connection.recv(4096).partition(b"\r\n")[0]))
            session = connection.session
    return found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_takes_up_a_session_is_known_still(version: ssl.TLSVersion, tmp_path: Path) -> None:
    authority = CertificateAuthority.create()
    authority.pair.save(tmp_path, "ca")
    for name, hosts in (("server", ["127.0.0.1"]), ("bob", [])):
        authority.issue(name, hosts=hosts).save(tmp_path, name)
    context = tls_context(*(str(tmp_path / name) for name in ("server.crt", "server.key", "ca.crt")))
    server = RestServer(create_app(FakeApi(), TokenTable({}), registry()), context)
    await server.start()
    try:
        bob = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        bob.minimum_version = bob.maximum_version = version
        bob.load_cert_chain(tmp_path / "bob.crt", tmp_path / "bob.key")
        ok = b"HTTP/1.1 200 OK"
        assert await asyncio.to_thread(taken_up, server.port, bob) == [(False, ok), (True, ok)]
    finally:
        await server.stop()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, new_uvloop])
def test_what_was_replaced_is_shown(loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(follow(tmp_path))
