"""Kubernetes' scheduler and controller manager as processes, and parts of ours in the loop of a live server of ours."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from knarr.service.component import Component
from services.kubelet.component import Kubelet
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.settings import KubeletSettings
from tests.apiserver.rest.live import LiveServer
from tests.peer.kube_apiserver import binary
from tests.peer.peers import Ask, Peer
from tests.support.ports import free_port
from tests.support.processes import end

STOP_SECONDS = 20.0
# What a busy machine takes for what Kubernetes' components do every some seconds.
SECONDS = 60.0


@contextlib.contextmanager
def kube_scheduler(server: LiveServer, folder: Path, *options: str) -> Iterator[None]:
    with _process("kube-scheduler", server, folder, *options):
        yield


@contextlib.contextmanager
def kube_controller_manager(server: LiveServer, folder: Path, controllers: str = "*") -> Iterator[None]:
    """``controllers`` are those that it runs, as its option of the same name spells them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "sa.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    accounts = (f"--service-account-private-key-file={folder / 'sa.key'}", f"--root-ca-file={server.ca}")
    with _process("kube-controller-manager", server, folder, f"--controllers={controllers}", *accounts):
        yield


@contextlib.contextmanager
def _process(name: str, server: LiveServer, folder: Path, *options: str) -> Iterator[None]:
    command = [
        binary(name), f"--kubeconfig={server.kubeconfig}", "--bind-address=127.0.0.1", f"--secure-port={free_port()}", "--port=0",
        f"--cert-dir={folder}", "--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=500ms",
        *options,
    ]  # fmt: skip
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
        assert process.poll() is None, (folder / f"{name}.log").read_text()[-3000:]
    finally:
        end(process, signal.SIGTERM, STOP_SECONDS)


@dataclass
class HollowNode:
    """A kubelet of ours whose containers are simulated."""

    name: str
    runtime: HollowRuntime
    kubelet: Kubelet

    @classmethod
    def made(cls, server: LiveServer, folder: Path, number: int) -> HollowNode:
        name, pods = f"hollow-{number}", f"10.244.{number}.0/24"
        (folder / name).mkdir()
        settings = KubeletSettings(node_name=name, data_dir=folder / name, node_ip=f"192.0.2.{10 + number}", pod_cidr=pods)
        runtime = HollowRuntime(pods)
        return cls(name, runtime, Kubelet(server.client, settings, runtime))


@contextlib.contextmanager
def in_loop_of(server: LiveServer, make: Callable[[], list[Component]]) -> Iterator[None]:
    """Runs components in the server's loop, where ``make`` is called too."""
    tasks: list[asyncio.Task[None]] = []

    async def start() -> None:
        tasks.extend(asyncio.create_task(part.run(), name=part.name) for part in make())

    async def stop() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOP_SECONDS)

    server.call(start())
    try:
        yield
        for task in tasks:
            assert not task.done(), task
    finally:
        server.call(stop())


def until(peer: Peer, path: str, holds: Callable[[Any], bool], seconds: float = SECONDS) -> Any:
    """The object or list at ``path`` once ``holds`` is true of it."""
    deadline = time.monotonic() + seconds
    while True:
        found = peer.ask(Ask("GET", path))
        with contextlib.suppress(LookupError):
            if found.status == 200 and holds(found.body):
                return found.body
        assert time.monotonic() < deadline, f"{path}: {found}"
        time.sleep(0.1)
