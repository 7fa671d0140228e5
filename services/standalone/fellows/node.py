"""A fellow's process: its kubelet and its proxy, in its own network namespace. What is made elsewhere it reaches by files."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import uvloop

from knarr.client.rpc import CertifiedRpcClient, RpcClient
from knarr.service import collector, logs
from knarr.service.access import ReviewedAccess
from knarr.service.authentication import TokenTable
from knarr.service.command import until_signalled
from knarr.service.component import Component
from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE
from knarr.service.host import Host, ServerSettings
from knarr.service.keypair import KeptPair
from knarr.service.outliving import until_ended
from knarr.service.tasks import run_together
from services.kubelet.component import Kubelet
from services.kubelet.parts.port import NodeParts
from services.kubelet.runtime.catalog import make_runtime
from services.kubelet.runtime.namespaces import enter_network
from services.proxy.component import Proxy
from services.standalone.datapath import fellow_datapath_settings
from services.standalone.etcd_process import shorten
from services.standalone.fellows.credentials import KUBELET, LOCALHOST, LOOPBACK, PROXY, FellowFiles
from services.standalone.fellows.order import Start
from services.standalone.fellows.plan import Fellow, fellow
from services.standalone.files import Files
from services.standalone.node_settings import fellow_kubelet_settings
from services.standalone.parts import node_parts
from services.standalone.runs import Runs
from services.standalone.settings import ClusterSettings

log = logging.getLogger(__name__)

# What the kernel takes as the path of a Unix socket.
MOST_SOCKET_BYTES = 108


def run(order: Start) -> int:
    """Works until SIGTERM; its exit code. To be called in a process that has one thread, which stays in the fellow's network."""
    settings = order.cluster
    own = fellow(settings, order.number)
    _write_to(own.log)
    logs.configure(settings.log_style, settings.log_level, own.log)
    try:
        enter_network(order.pid, order.container)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_signalled(lambda: _work(order, own)))
        return 0
    except (CommandError, OSError) as error:
        log.critical(str(error))
    except Exception:
        log.exception("the node failed")
    return 1


def _write_to(path: Path) -> None:
    """Standard output and error go to a file of this process' own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shorten(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


async def _work(order: Start, own: Fellow) -> None:
    settings = order.cluster
    files, kept = settings.files, FellowFiles(own.folder / "pki")
    async with AsyncExitStack() as stack:
        kubelet_client = await stack.enter_async_context(_client(files, kept, KUBELET))
        proxy_client = await stack.enter_async_context(_client(files, kept, PROXY))
        told = fellow_kubelet_settings(settings, own, order.address, order.container)
        proxy = Proxy(proxy_client, fellow_datapath_settings(settings, own, order.address))
        kubelet = Kubelet(kubelet_client, told, make_runtime(settings.runtime, told), parts=_parts(settings, own, proxy))
        hosts = {
            KUBELET: _host(kubelet, kubelet_client, files, kept, f"{own.address}:{told.port}", kept.tokens),
            PROXY: _host(proxy, proxy_client, files, kept, f"{LOOPBACK}:{settings.ports.proxy}", files.tokens, _door(files, own)),
        }
        for host in hosts.values():
            await host.start()
        collector.settle()
        place = _outlive(order.pid, order.container)
        await run_together(own.name, {"place": place, **{name: host.run() for name, host in hosts.items()}})


def _parts(settings: ClusterSettings, own: Fellow, proxy: Proxy) -> NodeParts:
    """How the node shows its proxy."""
    runs = Runs()
    runs.begin()
    shown = replace(settings, node_name=own.name)
    return node_parts(shown, own.address, {PROXY: runs}, lambda _: proxy.ready, _at_once, lambda: settings.ports.rest, own.log)


async def _at_once() -> None:
    """They are told of as soon as there is a node to tell by."""


def _client(files: Files, kept: FellowFiles, part: str) -> CertifiedRpcClient:
    pair = KeptPair(kept.certificate(part), kept.key(part))
    ca = (files.pki / "ca.crt").read_bytes()
    return CertifiedRpcClient(f"unix:{files.door}", ca, pair, server_name=LOCALHOST)


def _door(files: Files, own: Fellow) -> tuple[str, ...]:
    """Where the page asks its proxy; nowhere in a data directory whose path is too long for a socket's."""
    path = files.fellow_proxy(own.name)
    return (f"unix:{path}",) if len(os.fsencode(path)) < MOST_SOCKET_BYTES else ()


def _host(
    component: Component, client: RpcClient, files: Files, kept: FellowFiles, listen: str, tokens: Path, further: tuple[str, ...] = ()
) -> Host:
    pair = KeptPair(kept.certificate(component.name), kept.key(component.name))
    access, known = ReviewedAccess(client, component.right), TokenTable.load(tokens)
    settings = ServerSettings(listen, pair, known, access=access, web_client_ca=files.pki / "ca.crt", further_mutual=further)
    return Host(component, settings)


async def _outlive(pid: int, container: str) -> None:
    """Raises CommandError when the process that has this network has ended: a network without it is nobody's."""
    try:
        await until_ended(pid)
    except ProcessLookupError as error:
        raise CommandError(f"the container {container} has ended") from error
    raise CommandError(f"the container {container}, which has the node's network, has ended")


def default_signals() -> None:
    """A child has those of its parent."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
