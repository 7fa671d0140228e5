"""A machine with nothing but a token becomes a node: over TLS on loopback, with the API server's two gRPC ports and the controllers."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography import x509

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.api.controller.v1 import controller_service_pb2 as pb
from knarr.api.controller.v1 import controller_service_pb2_grpc as pb_grpc
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.client.channel import open_channel
from knarr.client.client import Client
from knarr.service.certificates import CertificateAuthority
from knarr.service.errors import CommandError
from knarr.service.interceptor import ServerInterceptor
from knarr.service.keypair import KeyPair
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import defaults
from services.controller.component import ControllerManager
from services.controller.controllers.csrapproving.controller import CertificateApprovingController
from services.controller.controllers.csrsigning.controller import CertificateSigningController
from services.controller.settings import ControllerSettings, Signing
from services.kubelet.bootstrap import serve_by_requests
from tests.service.test_host import Echo
from tests.support.ports import free_port
from tests.support.rights import CONTROLLER

TOKEN = "abcdef.0123456789abcdef"


class World:
    def __init__(self, api: ApiInMemory, folder: Path, token_port: int, mutual_port: int) -> None:
        self.api, self.folder, self.token_port, self.mutual_port = api, folder, token_port, mutual_port
        self.users: list[str] = []

    def arguments(self, token: str = TOKEN) -> argparse.Namespace:
        file = self.folder / "token"
        file.write_text(token)
        return argparse.Namespace(
            cert_dir=self.folder / "node",
            ca=self.folder / "ca.crt",
            client_ca_file=None,
            node_name="node-1",
            node_ip="127.0.0.1",
            apiserver=f"127.0.0.1:{self.mutual_port}",
            bootstrap_token=file if token else None,
            bootstrap_apiserver=f"127.0.0.1:{self.token_port}",
            listen=f"127.0.0.1:{free_port()}",
            metrics_listen=f"127.0.0.1:{free_port()}",
        )

    async def kubelet(self, arguments: argparse.Namespace) -> None:
        def make(client: Client) -> Any:
            async def look() -> None:
                answer = await client.create(authentication.SelfSubjectReview())
                self.users.append(answer.status.user_info.username)

            class Node(Echo):
                async def run(self) -> None:
                    await look()
                    await super().run()

            return Node()

        await serve_by_requests(arguments, make)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    authority = CertificateAuthority.create()
    authority.pair.save(folder, "ca")
    pair = authority.issue("apiserver", hosts=["127.0.0.1"])
    secret = core.Secret(
        metadata=meta.ObjectMeta(name="bootstrap-token-abcdef", namespace="kube-system"), type="bootstrap.kubernetes.io/token"
    )
    said = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}
    secret.data.update({key: value.encode() for key, value in said.items()})
    node = core.Node(metadata=meta.ObjectMeta(name="node-1"))
    node.status.addresses.add(type="InternalIP", address="127.0.0.1")
    api = ApiInMemory()
    api.seed(secret, node, *defaults())
    async with api:
        settings = ControllerSettings(signing=Signing(folder / "ca.crt", folder / "ca.key"))
        manager = ControllerManager(
            api.client(CONTROLLER), settings, controllers=(CertificateApprovingController, CertificateSigningController)
        )
        running = asyncio.create_task(manager.run())
        server = grpc.aio.server(interceptors=[ServerInterceptor(api.server.callers)])
        api.server.register(server)
        shown = [(pair.key, pair.certificate)]
        tokens = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(shown))
        mutual = server.add_secure_port(
            "127.0.0.1:0", grpc.ssl_server_credentials(shown, authority.pair.certificate, require_client_auth=True)
        )
        await server.start()
        try:
            yield World(api, folder, tokens, mutual)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await server.stop(0)


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_machine_becomes_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.kubelet.node.own_certificates.ASK_SECONDS", 0.02)
    async with world(tmp_path) as w:
        arguments = w.arguments()
        running = asyncio.create_task(w.kubelet(arguments))
        await until(lambda: w.users or running.done())
        assert w.users == ["system:node:node-1"]
        # Its serving certificate is signed meanwhile, and shown: whoever trusts the cluster finds the node by its name.
        authority = CertificateAuthority(KeyPair.load(tmp_path, "ca"))
        await until(lambda: authority.has_issued(x509.load_pem_x509_certificate((tmp_path / "node" / "serving.crt").read_bytes())))
        admin = authority.issue("admin", organizations=["system:masters"])
        # The API server shows its token, too, which is for kubelets that have a table of them.
        channel = open_channel(arguments.listen, authority.pair.certificate, "token", pair=admin, server_name="node-1")
        async with channel:
            answer = await pb_grpc.ControllerServiceStub(channel).ListControllers(pb.ListControllersRequest(), wait_for_ready=True)
            assert answer.controllers[0].name == "admin"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        # Started again it needs no token.
        again = asyncio.create_task(w.kubelet(w.arguments(token="")))
        await until(lambda: len(w.users) == 2 or again.done())
        assert w.users == ["system:node:node-1"] * 2
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)


async def test_a_token_that_is_refused_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        with pytest.raises(CommandError, match="refuses the token"):
            await w.kubelet(w.arguments("abcdef.0123456789abcdeX"[:23].lower().replace("x", "9")))
        with pytest.raises(CommandError, match="no client certificate that is good"):
            await w.kubelet(w.arguments(token=""))
