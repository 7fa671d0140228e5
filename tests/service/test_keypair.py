"""A server shows each new connection the certificate that lies in its files by then, and nothing that is no pair."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from knarr.service.authentication import TokenTable
from knarr.service.certificates import CertificateAuthority
from knarr.service.host import Host, ServerSettings
from knarr.service.keypair import KeptPair, KeyPair
from tests.service.test_host import Echo

AUTHORITY = CertificateAuthority.create()


def issued(name: str) -> KeyPair:
    return AUTHORITY.issue(name, hosts=["127.0.0.1"])


def kept(folder: Path) -> KeptPair:
    return KeptPair(folder / "server.crt", folder / "server.key")


def subject(pem: str) -> str:
    return x509.load_pem_x509_certificate(pem.encode()).subject.rfc4514_string()


@asynccontextmanager
async def hosted(pair: KeptPair) -> AsyncIterator[int]:
    host = Host(Echo(), ServerSettings("127.0.0.1:0", pair, TokenTable({})))
    await host.start()
    running = asyncio.create_task(host.run())
    try:
        yield host.port
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_grpc_server_shows_what_was_replaced(tmp_path: Path) -> None:
    issued("first").save(tmp_path, "server")
    async with hosted(kept(tmp_path)) as port:

        async def shown() -> str:
            return subject(await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)))

        assert await shown() == "CN=first"
        issued("second").save(tmp_path, "server")
        assert await shown() == "CN=second"
        (tmp_path / "server.key").unlink()
        assert await shown() == "CN=second"
        issued("third").save(tmp_path, "server")
        assert await shown() == "CN=third"


@pytest.mark.parametrize("harm", ["missing", "empty", "another's"])
def test_what_is_no_pair_changes_nothing_until_it_is_one(harm: str, tmp_path: Path) -> None:
    first, second = issued("first"), issued("second")
    first.save(tmp_path, "server")
    pair = kept(tmp_path)
    assert pair.latest() is pair.latest() and pair.latest() == first
    match harm:
        case "missing":
            (tmp_path / "server.key").unlink()
        case "empty":
            (tmp_path / "server.crt").write_bytes(b"")
        case "another's":
            (tmp_path / "server.crt").write_bytes(second.certificate)
    assert pair.latest() == first
    second.save(tmp_path, "server")
    assert pair.latest() == second


def test_no_pair_to_begin_with_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        kept(tmp_path)
    issued("x").save(tmp_path, "server")
    (tmp_path / "server.key").write_bytes(b"")
    with pytest.raises(ssl.SSLError):
        kept(tmp_path)
