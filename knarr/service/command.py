"""A component as a process of its own: the options all of them share, the loop and the signals."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from knarr.client.rpc import RpcClient, connect
from knarr.service import logs
from knarr.service.authentication import TokenTable
from knarr.service.certificates import KeyPair
from knarr.service.component import Component
from knarr.service.host import Host, ServerSettings
from knarr.service.tasks import cancel

log = logging.getLogger(__name__)


def parser(name: str, description: str, *, port: int) -> argparse.ArgumentParser:
    """The options every component has."""
    made = argparse.ArgumentParser(prog=f"python -m services.{name}", description=description)
    made.add_argument("--listen", default=f"0.0.0.0:{port}", metavar="HOST:PORT", help="where gRPC is served (default: %(default)s)")
    made.add_argument("--cert", type=Path, required=True, metavar="FILE", help="certificate of this server, PEM")
    made.add_argument("--key", type=Path, required=True, metavar="FILE", help="its private key, PEM")
    made.add_argument("--ca", type=Path, required=True, metavar="FILE", help="certificate of the cluster's CA, PEM")
    made.add_argument("--tokens", type=Path, required=True, metavar="FILE", help="token file: sha256,name,uid,groups a line")
    made.add_argument("--token", type=Path, required=True, metavar="FILE", help="this component's own bearer token")
    made.add_argument("--log-style", choices=("text", "json"), default="json")
    made.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return made


def client_parser(name: str, description: str, *, port: int) -> argparse.ArgumentParser:
    """As ``parser``, for a component that is a client of the API server."""
    made = parser(name, description, port=port)
    made.add_argument("--apiserver", required=True, metavar="HOST:PORT", help="gRPC address of the API server")
    return made


def server_settings(arguments: argparse.Namespace) -> ServerSettings:
    pair = KeyPair(arguments.cert.read_bytes(), arguments.key.read_bytes())
    return ServerSettings(arguments.listen, pair, TokenTable.load(arguments.tokens))


def api_client(arguments: argparse.Namespace) -> RpcClient:
    """A client with this component's token; made inside the running loop."""
    return connect(arguments.apiserver, arguments.ca, arguments.token.read_text().strip())


def run(arguments: argparse.Namespace, work: Callable[[], Awaitable[None]]) -> int:
    """Runs ``work`` until SIGTERM or SIGINT; 0 after an orderly stop, 1 after an error."""
    logs.configure(arguments.log_style, arguments.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_signalled(work))
    except Exception:
        log.exception("the component failed")
        return 1
    return 0


async def until_signalled(work: Callable[[], Awaitable[None]]) -> None:
    """Awaits ``work``, and cancels it when the process is asked to stop."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    working = asyncio.ensure_future(work())
    stopping = asyncio.create_task(stop.wait(), name="stop-signal")
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        stopping.cancel()
        working.result()
        return
    log.info("stopping")
    await cancel([working], timeout_seconds=float("inf"))
    log.info("stopped")


def run_component(arguments: argparse.Namespace, make: Callable[[RpcClient], Component]) -> int:
    """Hosts one component that is a client of the API server."""

    async def work() -> None:
        async with api_client(arguments) as client:
            await Host(make(client), server_settings(arguments)).run()

    return run(arguments, work)
