"""Client certificates as identities of the API server: whom they name, for how long, by which authorities; on both faces."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID, ObjectIdentifier

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.channel import open_channel
from knarr.client.rpc import CertifiedRpcClient, RpcClient
from knarr.service import certificates
from knarr.service.certificates import CertificateAuthority
from knarr.service.client_certificates import UID_ATTRIBUTE, certified
from knarr.service.interceptor import ServerInterceptor
from knarr.service.keypair import KeptPair, KeyPair
from knarr.service.tls import tls_context
from services.apiserver.authorization import ALLOW_AUTHENTICATED
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rest.application import create_app
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.http_client import HttpClient
from tests.support.faces import TOKEN, TOKENS, callers

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ORGANIZATION, NAME = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME


@dataclass
class World:
    """An API server with both faces; the authorities of its clients lie in ``client_ca``."""

    authority: CertificateAuthority
    folder: Path
    rest: RestServer
    rpc_port: int

    @property
    def client_ca(self) -> Path:
        return self.folder / "client-ca.crt"

    def context(self, pair: KeyPair | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if pair is not None:
            pair.save(self.folder, "shown")
            made.load_cert_chain(self.folder / "shown.crt", self.folder / "shown.key")
        return made

    async def who(self, pair: KeyPair | None, token: str = "") -> Any:
        """The user as whom REST knows the owner; the code where it does not, 0 where the handshake fails."""
        try:
            async with HttpClient(self.rest.port, self.context(pair), token) as client:
                answer = await client.request("POST", REVIEWS, b"{}", content_type="application/json")
        except (ssl.SSLError, ConnectionError, EOFError):
            return 0
        return answer.json["status"]["userInfo"] if answer.status == 201 else answer.status


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    authority = CertificateAuthority.create()
    authority.pair.save(tmp_path, "ca")
    authority.issue("apiserver", hosts=["127.0.0.1"]).save(tmp_path, "server")
    ca = tmp_path / "client-ca.crt"
    ca.write_bytes(authority.pair.certificate)
    async with ApiInMemory(authenticate=TOKENS.authenticate, authorizer=ALLOW_AUTHENTICATED) as api:
        application = create_app(api.server.api, callers(api), api.server.registry)
        rest = RestServer(application, tls_context(str(tmp_path / "server.crt"), str(tmp_path / "server.key"), str(ca)))
        await rest.start()
        pair = KeyPair.load(tmp_path, "server")
        server = grpc.aio.server(interceptors=[ServerInterceptor(callers(api), api.server.impersonate)])
        api.server.register(server)
        credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)], ca.read_bytes(), require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        yield World(authority, tmp_path, rest, port)
        await server.stop(0)
        await rest.stop()


async def test_both_faces_know_the_same_user(world: World) -> None:
    pair = world.authority.issue("bob", organizations=["dev", "ops"])
    found = await world.who(pair)
    assert (found["username"], found["groups"]) == ("bob", ["dev", "ops", "system:authenticated"])
    ((key, (words,)),) = found["extra"].items()
    assert (key, words.startswith("X509SHA256=")) == ("authentication.kubernetes.io/credential-id", True)
    channel = open_channel(f"127.0.0.1:{world.rpc_port}", (world.folder / "ca.crt").read_bytes(), pair=pair)
    async with RpcClient(channel) as client:
        review = await client.create(authentication.SelfSubjectReview())
    told = review.status.user_info
    assert (told.username, list(told.groups), list(told.extra[key].items)) == ("bob", found["groups"], [words])


async def test_what_is_no_request_is_refused(world: World, caplog: pytest.LogCaptureFixture) -> None:
    ca = (world.folder / "ca.crt").read_bytes()
    async with open_channel(f"127.0.0.1:{world.rpc_port}", ca, pair=world.authority.issue("bob")) as channel:
        method = "/knarr.api.apiserver.v1.ResourceService/Get"
        for sent in ([b"\xff"], []):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.stream_unary(method)(iter(sent))
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_client_shows_the_certificate_that_lies_in_its_files_by_then(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a restart; what runs goes on over the former connection."""
    monkeypatch.setattr("knarr.client.rpc.LOOK_SECONDS", 0.0)
    world.authority.issue("bob", organizations=["dev"]).save(tmp_path, "own")
    pairs = KeptPair(tmp_path / "own.crt", tmp_path / "own.key")
    ca = (world.folder / "ca.crt").read_bytes()

    async def who(client: RpcClient) -> str:
        return str((await client.create(authentication.SelfSubjectReview())).status.user_info.username)

    async with CertifiedRpcClient(f"127.0.0.1:{world.rpc_port}", ca, pairs) as client:
        assert await who(client) == "bob"
        watch: Any = client.watch(core.Namespace, resource_version="0")
        await anext(watch)
        world.authority.issue("carol").save(tmp_path, "own")
        assert await who(client) == "carol"
        await client.create(core.Namespace(metadata=meta.ObjectMeta(name="new")))
        async with asyncio.timeout(10):
            while not any(event.object.metadata.name == "new" for event in await anext(watch)):
                pass
        # What is no pair changes nothing.
        (tmp_path / "own.key").write_bytes(b"nothing")
        assert await who(client) == "carol"
        await watch.aclose()


async def test_a_token_goes_before_a_certificate(world: World) -> None:
    bob = world.authority.issue("bob")
    assert (await world.who(bob, TOKEN))["username"] == "admin"
    assert await world.who(bob, "wrong") == 401
    assert await world.who(None) == 401


async def test_a_stranger_is_turned_away(world: World) -> None:
    """Of another authority, also where it is called the same."""
    other = CertificateAuthority.create()
    assert await world.who(other.issue("bob", organizations=["system:masters"])) == 0


async def test_further_authorities_are_taken_from_the_file(world: World) -> None:
    other = CertificateAuthority.create("another")
    world.client_ca.write_bytes(other.pair.certificate + world.authority.pair.certificate)
    assert (await world.who(other.issue("carol")))["username"] == "carol"
    assert (await world.who(world.authority.issue("bob")))["username"] == "bob"


async def test_a_connection_does_not_outlive_its_certificate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = world.authority.issue("bob")
    now = time.time()
    async with HttpClient(world.rest.port, world.context(pair)) as client:
        for days, code in ((0, 200), (364, 200), (366, 401), (-1, 401), (0, 200)):
            monkeypatch.setattr("services.apiserver.rest.authentication.time.time", lambda days=days: now + days * 86_400)
            assert (await client.get("/api/v1/namespaces")).status == code


async def test_nor_the_one_of_its_authority(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "CA_LIFETIME", timedelta(minutes=-1))
    past = CertificateAuthority.create("past")
    world.client_ca.write_bytes(past.pair.certificate)
    assert await world.who(past.issue("bob")) == 401


@pytest.mark.parametrize(
    ("attributes", "name", "uid", "groups"),
    [
        ([(NAME, "bob")], "bob", "", []),
        ([(NAME, "alice"), (ORGANIZATION, "dev"), (NAME, "bob")], "bob", "", ["dev"]),
        ([(ORGANIZATION, "dev")], None, "", []),
        ([], None, "", []),
        ([(NAME, "Zoë, O=system:masters")], "Zoë, O=system:masters", "", []),
        ([(NAME, "bob\n"), (ORGANIZATION, "a/O=b")], "bob\n", "", ["a/O=b"]),
        ([(NAME, "bob"), (ObjectIdentifier(UID_ATTRIBUTE), "7")], "bob", "7", []),
        ([(NAME, "bob"), *[(ObjectIdentifier(UID_ATTRIBUTE), "7")] * 2], None, "", []),
    ],
)
def test_the_subject_names_the_user(attributes: list[tuple[Any, str]], name: str | None, uid: str, groups: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])
    now = datetime.now(UTC)
    begun, over = now - timedelta(hours=1), now + timedelta(days=1)
    made = certificates._builder(subject, subject, key.public_key(), begun, over).sign(key, hashes.SHA256())
    user, begins, ends = certified(made.public_bytes(serialization.Encoding.DER))
    assert begins < time.time() < ends
    assert (user.name if user else None) == name
    if user is not None:
        assert (user.uid, list(user.groups)) == (uid, [*groups, "system:authenticated"])
