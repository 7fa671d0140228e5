"""A server of the shell alone, over TLS on loopback, in front of a fake ``Api``; and whole ones, with kubectl for them."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from knarr.machinery.catalog import registry
from knarr.service.authentication import TokenTable, User, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.tls import ServerContext, tls_context
from services.apiserver.rest.application import Application, create_app
from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.fake_api import FakeApi
from tests.apiserver.rest.http_client import HttpClient
from tests.apiserver.rest.kubectl import Kubectl
from tests.apiserver.rest.live import LiveServer, running_server

TOKEN = "a-token-for-tests"
TOKENS = TokenTable({hash_token(TOKEN): User("alice", "1", ("system:masters", "system:authenticated"))})


@dataclass
class Certificates:
    """Files of one authority: its certificate, a server's and a client's pair."""

    ca: Path
    server: ServerContext
    client: ssl.SSLContext
    bob: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = CertificateAuthority.create()
    authority.pair.save(folder, "ca")
    authority.issue("apiserver", hosts=["127.0.0.1", "localhost"]).save(folder, "server")
    authority.issue("bob", organizations=["dev", "ops"]).save(folder, "bob")
    ca = folder / "ca.crt"
    bob = ssl.create_default_context(cafile=str(ca))
    bob.load_cert_chain(folder / "bob.crt", folder / "bob.key")
    server = tls_context(str(folder / "server.crt"), str(folder / "server.key"), str(ca))
    return Certificates(ca, server, ssl.create_default_context(cafile=str(ca)), bob)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def application(api: FakeApi) -> Application:
    return create_app(api, TOKENS, registry())


@pytest.fixture
async def server(application: Application, certificates: Certificates) -> AsyncIterator[RestServer]:
    server = RestServer(application, certificates.server)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(server: RestServer, certificates: Certificates) -> AsyncIterator[HttpClient]:
    async with HttpClient(server.port, certificates.client, TOKEN) as client:
        yield client


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A whole API server for the tests of one module."""
    with running_server(tmp_path_factory.mktemp("live")) as server:
        yield server


@pytest.fixture
async def kubectl(live: LiveServer, request: pytest.FixtureRequest) -> Kubectl:
    """In a namespace of the test's own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-50:].strip("-")
    kubectl = Kubectl(live, name)
    await kubectl("create", "namespace", name)
    await kubectl("create", "serviceaccount", "default")
    return kubectl
