"""A component whose callers show certificates: who is let in, as whom, and for how long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from knarr.api.controller.v1 import controller_service_pb2 as pb
from knarr.api.controller.v1 import controller_service_pb2_grpc as pb_grpc
from knarr.machinery.errors import status_error
from knarr.service import certificates
from knarr.service.authentication import TokenTable, User, current_user, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.host import Host, ServerSettings
from knarr.service.keypair import KeyPair
from tests.service.test_host import Echo


async def masters_alone(user: User, method: str) -> None:
    if "system:masters" not in user.groups and user.name != "kube-apiserver-kubelet-client":
        raise status_error("Forbidden", "no")


TOKENS = TokenTable({hash_token("secret"): User("admin", groups=("system:masters",))})
BEARER = (("authorization", "Bearer secret"),)


class Cluster:
    """An authority, and a component that takes the certificates of the one that lies in its file."""

    def __init__(self, folder: Path) -> None:
        self.authority = CertificateAuthority.create()
        self.ca = folder / "client-ca.crt"
        self.ca.write_bytes(self.authority.pair.certificate)
        pair = self.authority.issue("echo", hosts=["127.0.0.1"])
        settings = ServerSettings("127.0.0.1:0", pair, TOKENS, client_ca=self.ca, mutual_listen="127.0.0.1:0", access=masters_alone)
        self.host = Host(Echo(), settings)

    def issue(self, name: str = "bob", *groups: str) -> KeyPair:
        return self.authority.issue(name, organizations=groups)

    @asynccontextmanager
    async def channel(self, pair: KeyPair | None, *, mutual: bool = True) -> AsyncIterator[grpc.aio.Channel]:
        shown = (pair.key, pair.certificate) if pair is not None else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.pair.certificate, *shown)
        port = self.host.mutual_port if mutual else self.host.port
        # Channels of one process share their connections where all is alike; who shows another certificate is another.
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield channel

    async def who(self, pair: KeyPair | None, *metadata: tuple[str, str], mutual: bool = True) -> str:
        """As whom the owner of a pair is known; the code where he is not."""
        async with self.channel(pair, mutual=mutual) as channel:
            try:
                async with asyncio.timeout(10):
                    answer = await pb_grpc.ControllerServiceStub(channel).ListControllers(pb.ListControllersRequest(), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return str(answer.controllers[0].name)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path)
    await made.host.start()
    running = asyncio.create_task(made.host.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_certificate_names_the_caller(cluster: Cluster) -> None:
    assert await cluster.who(cluster.issue("bob", "system:masters")) == "bob"
    assert await cluster.who(cluster.issue("kube-apiserver-kubelet-client")) == "kube-apiserver-kubelet-client"


async def test_not_everybody_is_meant_whom_the_authority_names(cluster: Cluster) -> None:
    assert await cluster.who(cluster.issue("bob", "dev")) == "PERMISSION_DENIED"


async def test_a_stranger_is_turned_away_in_the_handshake(cluster: Cluster) -> None:
    other = CertificateAuthority.create()
    assert await cluster.who(other.issue("bob", organizations=["system:masters"])) == "UNAVAILABLE"
    assert await cluster.who(None) == "UNAVAILABLE"
    assert await cluster.who(None, *BEARER) == "UNAVAILABLE"


async def test_where_no_certificate_is_asked_for_none_counts(cluster: Cluster) -> None:
    pair = cluster.issue("bob", "system:masters")
    assert await cluster.who(pair, mutual=False) == "UNAUTHENTICATED"
    assert await cluster.who(pair, *BEARER, mutual=False) == "admin"


async def test_a_token_says_more_than_a_certificate(cluster: Cluster) -> None:
    pair = cluster.issue("bob", "system:masters")
    assert await cluster.who(pair, *BEARER) == "admin"
    assert await cluster.who(pair, ("authorization", "Bearer wrong")) == "UNAUTHENTICATED"


async def test_nobody_is_played_there(cluster: Cluster) -> None:
    assert await cluster.who(cluster.issue("bob", "system:masters"), ("impersonate-user", "carol")) == "PERMISSION_DENIED"


@pytest.mark.parametrize(("skew", "life"), [(timedelta(hours=-1), timedelta(days=1)), (timedelta(days=2), timedelta(days=-1))])
async def test_a_certificate_out_of_its_time_is_turned_away(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, skew: timedelta, life: timedelta
) -> None:
    """One that is not good yet, and one that is no more."""
    monkeypatch.setattr(certificates, "CLOCK_SKEW", skew)
    monkeypatch.setattr(certificates, "LEAF_LIFETIME", life)
    assert await cluster.who(cluster.issue("bob", "system:masters")) == "UNAVAILABLE"


async def test_a_connection_does_not_outlive_its_certificate(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async with cluster.channel(cluster.issue("bob", "system:masters")) as channel:
        stub = pb_grpc.ControllerServiceStub(channel)
        assert (await stub.ListControllers(pb.ListControllersRequest())).controllers[0].name == "bob"
        now = time.time
        for days in (366, -1):
            monkeypatch.setattr("knarr.service.interceptor.time.time", lambda days=days: now() + days * 86_400)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ListControllers(pb.ListControllersRequest())
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_the_authorities_may_be_replaced(cluster: Cluster) -> None:
    other = CertificateAuthority.create()
    pair = other.issue("bob", organizations=["system:masters"])
    cluster.ca.write_bytes(other.pair.certificate + cluster.authority.pair.certificate)
    assert await cluster.who(pair) == "bob"
    assert await cluster.who(cluster.issue("carol", "system:masters")) == "carol"


async def test_streams_go_on_as_with_a_token(cluster: Cluster) -> None:
    async with cluster.channel(cluster.issue("bob", "system:masters")) as channel:

        async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        names: set[str] = set()
        async for answer in reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(ask()):
            names |= {service.name for service in answer.list_services_response.service}
        assert "knarr.api.controller.v1.ControllerService" in names
        checked: Any = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert checked.status


def test_the_caller_of_nothing_is_nobody() -> None:
    assert current_user() is User.ANONYMOUS
