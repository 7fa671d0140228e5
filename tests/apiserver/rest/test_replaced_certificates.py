"""The REST face shows a new connection the certificate that lies in its files by then, and trusts clients of the authority there."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from cryptography import x509

from knarr.machinery.catalog import registry
from knarr.service.authentication import TokenTable
from knarr.service.certificates import CertificateAuthority
from services.apiserver.rest.application import create_app
from services.apiserver.rest.server import RestServer, tls_context
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import HttpClient


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
        another.issue("carol").save(folder, "carol")
        carol = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        carol.load_cert_chain(folder / "carol.crt", folder / "carol.key")
        async with HttpClient(server.port, carol) as client:
            assert (await client.get("/version")).status == 200
    finally:
        await server.stop()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_was_replaced_is_shown(loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(follow(tmp_path))
