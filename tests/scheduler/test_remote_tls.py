"""Plugins in other processes over real TLS: who is trusted, what is shown, and in which words it is said that one is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from knarr.api.scheduler.v1 import plugin_pb2_grpc as api_grpc
from knarr.service.certificates import CertificateAuthority, key_pem
from knarr.service.keypair import KeyPair
from services.scheduler.node_table import NodeTable
from services.scheduler.pod_facts import PodFacts
from services.scheduler.remote.peer import Peer
from services.scheduler.remote_plugin import RemoteFailed, SchedulerPluginServiceArgs
from services.scheduler.seconds import Seconds
from tests.scheduler.objects import node, pod
from tests.scheduler.test_remote import NAME, Odd

AUTHORITY = CertificateAuthority.create("plugins")
STRANGER = CertificateAuthority.create("strangers")
# What a busy machine may take for a handshake.
SECONDS = Seconds(20.0)


class Noting(Odd):
    """Notes who called: the name in the certificate that was shown, and the token."""

    def __init__(self) -> None:
        super().__init__(filter=True)
        self.callers: list[tuple[str, str]] = []

    async def GetInfo(self, request: Any, context: Any) -> Any:
        shown = context.auth_context().get("x509_common_name", [b""])[0].decode()
        self.callers.append((shown, dict(context.invocation_metadata()).get("authorization", "")))
        return await super().GetInfo(request, context)


@asynccontextmanager
async def serving(plugin: Odd, pair: KeyPair | None, client_authority: bytes | None = None) -> AsyncIterator[int]:
    """At a port of loopback; without a pair it speaks no TLS."""
    server = grpc.aio.server()
    api_grpc.add_SchedulerPluginServiceServicer_to_server(plugin, server)
    if pair is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        asks = client_authority is not None
        credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)], client_authority, require_client_auth=asks)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def asked(port: int, **args: Any) -> list[str]:
    """Whom the plugin refuses. Raises RemoteFailed."""
    table = NodeTable()
    for name in ("n1", "n2"):
        table.put_node(node(name))
    made = SchedulerPluginServiceArgs(address=f"127.0.0.1:{port}", timeout=SECONDS, **args)
    peer = Peer(NAME, made, table, asyncio.get_running_loop().time)
    try:
        return sorted(await peer.filter(PodFacts.of(pod("a")), ["n1", "n2"]))
    finally:
        await peer.close()


def kept(folder: Path, **pairs: KeyPair) -> dict[str, str]:
    """Where the files of pairs lie, by names such as ``ca_certificate``."""
    found: dict[str, str] = {}
    for name, pair in pairs.items():
        pair.save(folder, name)
        found |= {f"{name}_certificate": str(folder / f"{name}.crt"), f"{name}_key": str(folder / f"{name}.key")}
    return found


def expired() -> KeyPair:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    certificate = AUTHORITY.sign(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")]),
        key.public_key(),
        usages=["digital signature", "server auth"],
        names=x509.SubjectAlternativeName([x509.DNSName("localhost")]),
        begins=now - timedelta(days=2),
        ends=now - timedelta(days=1),
    )
    return KeyPair(certificate, key_pem(key))


def own(*hosts: str) -> KeyPair:
    return AUTHORITY.issue("odd", hosts=hosts)


async def test_it_is_asked_over_tls_and_told_who_asks(tmp_path: Path) -> None:
    files = kept(tmp_path, ca=AUTHORITY.pair, scheduler=AUTHORITY.issue("the-scheduler"))
    (tmp_path / "token").write_text("secret\n")
    plugin = Noting()
    plugin.refuses = {"n2": "not today"}
    shown = {"cert_file": files["scheduler_certificate"], "key_file": files["scheduler_key"]}
    async with serving(plugin, own("127.0.0.1"), AUTHORITY.pair.certificate) as port:
        assert await asked(port, ca_file=files["ca_certificate"], token_file=str(tmp_path / "token"), **shown) == ["n2"]
    assert plugin.callers == [("the-scheduler", "Bearer secret")]


async def test_its_certificate_may_name_it_otherwise_where_that_is_said(tmp_path: Path) -> None:
    files = kept(tmp_path, ca=AUTHORITY.pair)
    plugin = Noting()
    async with serving(plugin, own("odd.example.com")) as port:
        assert await asked(port, ca_file=files["ca_certificate"], server_name="odd.example.com") == []
        with pytest.raises(RemoteFailed):
            await asked(port, ca_file=files["ca_certificate"])
        with pytest.raises(RemoteFailed):
            await asked(port, ca_file=files["ca_certificate"], server_name="even.example.com")
    assert len(plugin.callers) == 1


@pytest.mark.parametrize(
    "pair",
    [lambda: STRANGER.issue("odd", hosts=["127.0.0.1", "localhost"]), expired, lambda: None],
    ids=["of another authority", "that has expired", "none"],
)
async def test_one_that_is_not_trusted_hears_nothing(tmp_path: Path, pair: Callable[[], KeyPair | None]) -> None:
    files = kept(tmp_path, ca=AUTHORITY.pair)
    (tmp_path / "token").write_text("secret")
    plugin = Noting()
    async with serving(plugin, pair()) as port:
        with pytest.raises(RemoteFailed, match=f'running "{NAME}" filter plugin: rpc error: code = Unavailable desc = ') as failed:
            await asked(port, ca_file=files["ca_certificate"], server_name="localhost", token_file=str(tmp_path / "token"))
    # It may be mended at any time: pods are tried again, or go without it where it may be ignored.
    assert not failed.value.answered
    assert plugin.callers == [] == plugin.calls


@pytest.mark.parametrize("shown", ["nothing", "of another authority", "with another's key"])
async def test_whom_it_does_not_know_it_does_not_answer(tmp_path: Path, shown: str) -> None:
    files = kept(tmp_path, ca=AUTHORITY.pair, known=AUTHORITY.issue("the-scheduler"), strange=STRANGER.issue("the-scheduler"))
    args = {
        "nothing": {},
        "of another authority": {"cert_file": files["strange_certificate"], "key_file": files["strange_key"]},
        "with another's key": {"cert_file": files["known_certificate"], "key_file": files["strange_key"]},
    }[shown]
    plugin = Noting()
    async with serving(plugin, own("127.0.0.1"), AUTHORITY.pair.certificate) as port:
        with pytest.raises(RemoteFailed, match="rpc error: code = Unavailable desc = ") as failed:
            await asked(port, ca_file=files["ca_certificate"], **args)
    assert not failed.value.answered and plugin.callers == []


async def test_without_tls_one_that_speaks_it_is_not_reached() -> None:
    plugin = Noting()
    async with serving(plugin, own("127.0.0.1")) as port:
        with pytest.raises(RemoteFailed, match="rpc error: code = Unavailable desc = "):
            await asked(port, insecure=True)
    assert plugin.callers == []


async def test_files_are_named_that_cannot_be_read(tmp_path: Path) -> None:
    async with serving(Noting(), own("127.0.0.1")) as port:
        with pytest.raises(RemoteFailed, match=r"No such file or directory: '.*gone\.crt'"):
            await asked(port, ca_file=str(tmp_path / "gone.crt"))
