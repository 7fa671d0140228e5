"""The controllers on a real API server and etcd, with kubectl outside and a kubelet of the test's own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK
from knarr.service.authentication import TokenTable, User, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.tls import tls_context
from services.apiserver.component import ApiServer
from services.apiserver.rest.application import create_app
from services.apiserver.rest.server import RestServer
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.etcd import EtcdSettings
from services.controller.component import ControllerManager
from services.controller.settings import ControllerSettings
from tests.controller.cluster import FakeKubelet
from tests.controller.objects import node
from tests.support import matrix
from tests.support.etcd import EtcdServer

KUBECTL = Path(sys.executable).parent / "kubectl"
TOKEN = "a-token-for-tests"
ADMIN = User("admin", "1", ("system:masters", "system:authenticated"))


@dataclass
class LiveCluster:
    folder: Path
    etcd: EtcdServer
    client: Client
    kubelet: FakeKubelet

    async def kubectl(self, *arguments: str, stdin: str = "", seconds: float = 30.0) -> str:
        """Runs kubectl; raises AssertionError with its words when it fails."""
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            f"--kubeconfig={self.folder / 'kubeconfig'}",
            f"--cache-dir={self.folder / 'cache'}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(seconds):
                output, _ = await process.communicate(stdin.encode())
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"kubectl {' '.join(arguments)} did not end") from None
        assert process.returncode == 0, f"kubectl {' '.join(arguments)}: {output.decode()}"
        matrix.ran(str(KUBECTL), arguments, 0)
        return output.decode()

    async def names(self, resource: str, *arguments: str) -> list[str]:
        found = json.loads(await self.kubectl("get", resource, "-o", "json", *arguments))
        return [entry["metadata"]["name"] for entry in found["items"]]


@asynccontextmanager
async def live_cluster(etcd: EtcdServer, folder: Path) -> AsyncIterator[LiveCluster]:
    authority = CertificateAuthority.create()
    authority.pair.save(folder, "ca")
    authority.issue("apiserver", hosts=["127.0.0.1"]).save(folder, "server")
    apiserver = ApiServer(ApiServerSettings(etcd=EtcdSettings(endpoints=(etcd.endpoint,)), advertise_address=""), _no_channel)
    tasks = [asyncio.create_task(apiserver.run(), name="apiserver")]
    try:
        async with asyncio.timeout(20):
            await apiserver.wait_ready()
        context = tls_context(*(str(folder / name) for name in ("server.crt", "server.key", "ca.crt")))
        rest = RestServer(create_app(apiserver.api, TokenTable({hash_token(TOKEN): ADMIN}), apiserver.registry), context)
        await rest.start()
        try:
            client = apiserver.client(ADMIN)
            created = await client.create(node())
            created.status.CopyFrom(node().status)
            await client.update(created, subresource="status")
            kubelet = FakeKubelet(client, clock=SYSTEM_CLOCK)
            manager = ControllerManager(client, ControllerSettings())
            tasks += [asyncio.create_task(manager.run(), name="controllers"), asyncio.create_task(kubelet.run(), name="kubelet")]
            (folder / "kubeconfig").write_text(json.dumps(_kubeconfig(folder, rest.port)))
            yield LiveCluster(folder, etcd, client, kubelet)
        finally:
            await _end(tasks[1:])
            await rest.stop()
    finally:
        await _end(tasks[:1])


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=10)
        assert not late, late


def _no_channel(node: str, address: str) -> Any:
    raise AssertionError("these tests have no kubelet to stream from")


def _kubeconfig(folder: Path, port: int) -> dict[str, Any]:
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(folder / "ca.crt")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "default"}}],
        "current-context": "test",
    }
