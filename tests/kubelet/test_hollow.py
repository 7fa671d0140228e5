"""Simulated nodes as a process of their own, over TLS on loopback: each is itself, to the API server and to who asks."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.api.kubelet.v1 import kubelet_service_pb2_grpc as pb_grpc
from knarr.client.channel import open_channel
from knarr.client.rpc import CertifiedRpcClient
from knarr.machinery.errors import Forbidden
from knarr.objects.conditions import is_true
from knarr.objects.hollow import LABEL, PAIRS, node_name
from knarr.objects.labels import EXCLUDED
from knarr.service.certificates import CertificateAuthority
from knarr.service.errors import CommandError
from knarr.service.interceptor import ServerInterceptor
from knarr.service.keypair import KeyPair
from knarr.service.node_calls import naming
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import defaults
from services.compose.trust import make_hollow
from services.controller.component import ControllerManager
from services.controller.controllers.nodeipam.controller import NodeIpamController
from services.controller.settings import ControllerSettings
from services.kubelet.hollow import arguments_parser, serve_nodes, settings_of
from tests.kubelet.support import make_pod
from tests.support.ports import free_port
from tests.support.rights import CONTROLLER

SECONDS = 30.0


class World:
    def __init__(self, api: ApiInMemory, folder: Path, port: int) -> None:
        self.api, self.folder, self.endpoint = api, folder, f"127.0.0.1:{port}"
        self.authority = CertificateAuthority(KeyPair.load(folder / "authority", "ca"))
        self.listen = f"127.0.0.1:{free_port()}"

    def arguments(self, count: int) -> argparse.Namespace:
        trust = self.folder / "hollow"
        where = [f"--listen={self.listen}", f"--metrics-listen=127.0.0.1:{free_port()}", "--node-ip=127.0.0.1"]
        given = [f"--trust={trust}", f"--client-ca-file={trust / 'ca.crt'}", f"--apiserver={self.endpoint}", f"--nodes={count}"]
        parsed: argparse.Namespace = arguments_parser().parse_args([*where, *given, f"--data-dir={self.folder / 'data'}"])
        return parsed

    async def nodes(self, count: int) -> None:
        arguments = self.arguments(count)
        await serve_nodes(arguments, settings_of(arguments))

    async def node(self, number: int) -> core.Node | None:
        found = await self.api.client().list(core.Node, field_selector=f"metadata.name={node_name(number)}")
        return found.items[0] if found.items else None


@asynccontextmanager
async def world(folder: Path, certified: int) -> AsyncIterator[World]:
    """An API server and the controller of pod ranges, and what as many nodes are known by."""
    make_hollow(folder, certified, ["192.0.2.8"])
    w = World(api := ApiInMemory(), folder, 0)
    api.seed(*defaults())
    async with api:
        manager = ControllerManager(api.client(CONTROLLER), ControllerSettings(), controllers=(NodeIpamController,))
        running = asyncio.create_task(manager.run())
        server = grpc.aio.server(interceptors=[ServerInterceptor(api.server.callers)])
        api.server.register(server)
        pair, ca = w.authority.issue("apiserver", hosts=["127.0.0.1"]), w.authority.pair.certificate
        shown = grpc.ssl_server_credentials([(pair.key, pair.certificate)], ca, require_client_auth=True)
        w.endpoint = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', shown)}"
        await server.start()
        try:
            yield w
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await server.stop(0)


async def test_each_node_is_known_by_its_own_certificate(tmp_path: Path) -> None:
    async with world(tmp_path, 3) as w:
        running = asyncio.create_task(w.nodes(3))
        try:
            async with asyncio.timeout(SECONDS):
                while not running.done() and not all([await is_ready(w, number) for number in (1, 2, 3)]):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert not running.done()
            node = await w.node(2)
            assert node is not None and node.metadata.labels[LABEL] == "true" and EXCLUDED in node.metadata.labels
            assert len({found.spec.pod_cidr for number in (1, 2, 3) if (found := await w.node(number))} - {""}) == 3
            await answers_for_one(w, 2)
            await may_not_touch_another(w)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def is_ready(w: World, number: int) -> bool:
    node = await w.node(number)
    return node is not None and is_true(node.status, "Ready")


async def answers_for_one(w: World, number: int) -> None:
    """A pod of one node is told of by that one, which is found by its name at the port that all have."""
    pod = make_pod("web")
    pod.spec.node_name = node_name(number)
    await w.api.client().create(pod)
    caller, ca = w.authority.issue("admin", organizations=["system:masters"]), w.authority.pair.certificate
    listed: dict[int, list[str]] = {}
    async with asyncio.timeout(SECONDS):
        while listed.get(number) != ["web"]:
            for asked in (1, number):
                name = node_name(asked)
                async with open_channel(w.listen, ca, pair=caller, server_name=name, metadata=naming(name)) as channel:
                    answer = await pb_grpc.KubeletServiceStub(channel).ListPods(pb.ListPodsRequest(), wait_for_ready=True)
                listed[asked] = [found.pod.metadata.name for found in answer.pods]
            await asyncio.sleep(0.05)
    assert listed[1] == []


async def may_not_touch_another(w: World) -> None:
    pair = KeyPair.load(w.folder / "hollow" / PAIRS, node_name(2))
    async with CertifiedRpcClient(w.endpoint, w.authority.pair.certificate, pair) as client:
        await client.patch(core.Node, node_name(2), patch={"metadata": {"annotations": {"told-by": "itself"}}})
        with pytest.raises(Forbidden):
            await client.patch(core.Node, node_name(1), patch={"metadata": {"annotations": {"told-by": "another"}}})


async def test_a_node_without_a_certificate_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, 2) as w:
        with pytest.raises(CommandError, match=r"nodes has no certificate and key of node-3\.hollow\.internal .*--hollow-nodes 3"):
            await w.nodes(3)
