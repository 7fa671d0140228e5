"""A component as a process of its own: the options all of them share, the loop and the signals.

What a person gave wrongly is answered by one line and an exit code: 2 for an option, 1 for what
only shows when the component starts. A traceback means a bug.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from knarr.api.authentication.v1 import authentication_pb2 as authentication
from knarr.client.rpc import CertifiedRpcClient, RpcClient, connect
from knarr.machinery.errors import StatusError, Unauthorized
from knarr.service import collector, logs
from knarr.service.access import ReviewedAccess
from knarr.service.authentication import TokenTable
from knarr.service.component import Component
from knarr.service.errors import CommandError
from knarr.service.exposition import exposed
from knarr.service.host import Host, ServerSettings
from knarr.service.keypair import KeptPair
from knarr.service.options import address, readable_file
from knarr.service.tasks import cancel

log = logging.getLogger(__name__)


# The default port of a component's metrics, above that of its gRPC service.
METRICS_PORT_OFFSET = 10_000


# What a component is shown and what it shows: option and the file's name in the folder of `--trust`.
TRUST_FILES = {"cert": "server.crt", "key": "server.key", "ca": "ca.crt", "tokens": "tokens.csv", "token": "token"}


def trusted_file(arguments: argparse.Namespace, option: str, name: str) -> Path | None:
    """What an option names, which need be no file of a disk; or else the file of this name in the folder of ``--trust``, where it has
    one."""
    given: Path | None = getattr(arguments, option)
    if given is not None or arguments.trust is None:
        return given
    path: Path = arguments.trust / name
    return path if path.is_file() else None


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage of a component is too long to help.

    ``spared`` says which of the files a component can do without, given its arguments; those are not taken from the folder either.
    """

    spared: Callable[[argparse.Namespace], Iterable[str]] = staticmethod(lambda arguments: ())

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses as argparse does, then takes from the folder of ``--trust`` what was not given."""
        arguments = super().parse_args(args, namespace)
        missing = [name for name in TRUST_FILES if getattr(arguments, name) is None and name not in self.spared(arguments)]
        if missing and arguments.trust is None:
            self.error(f"the following arguments are required: {', '.join(f'--{name}' for name in missing)}; or --trust")
        for name in missing:
            try:
                setattr(arguments, name, readable_file(str(arguments.trust / TRUST_FILES[name])))
            except argparse.ArgumentTypeError as error:
                self.error(f"argument --trust: {error}")
        return arguments

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help shows the options)\n")


def parser(name: str, description: str, *, port: int) -> Parser:
    """The options every component has."""
    made = Parser(prog=f"python -m services.{name}", description=description)
    made.add_argument(
        "--listen", default=f"0.0.0.0:{port}", type=address, metavar="HOST:PORT", help="where gRPC is served (default: %(default)s)"
    )
    made.add_argument(
        "--trust", type=Path, metavar="DIR", help=f"folder with {', '.join(TRUST_FILES.values())}, for what is not given by the next five"
    )
    made.add_argument("--cert", type=readable_file, metavar="FILE", help="certificate of this server, PEM")
    made.add_argument("--key", type=readable_file, metavar="FILE", help="its private key, PEM")
    made.add_argument("--ca", type=readable_file, metavar="FILE", help="certificate of the cluster's CA, PEM")
    made.add_argument("--tokens", type=readable_file, metavar="FILE", help="token file: sha256,name,uid,groups a line")
    made.add_argument("--token", type=readable_file, metavar="FILE", help="this component's own bearer token")
    made.add_argument(
        "--client-ca-file",
        type=readable_file,
        metavar="FILE",
        help="authorities of client certificates, PEM: callers %s"
        % (
            "must show one, and need no --tokens then"
            if name != "apiserver"
            else "may show one by REST, and must at --mutual-listen (default: that of --ca)"
        ),
    )
    made.add_argument("--log-style", choices=("text", "json"), default="json")
    made.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return made


def client_parser(name: str, description: str, *, port: int) -> Parser:
    """A ``parser`` for a component that is a client of the API server."""
    made = parser(name, description, port=port)
    made.spared = without_tokens
    made.add_argument(
        "--credential",
        choices=("token", "certificate"),
        default="token",
        help="what is shown to the API server: the token, or the certificate alone, at its port for those, 6445, which needs no --token "
        "(default: %(default)s)",
    )
    made.add_argument("--apiserver", required=True, type=address, metavar="HOST:PORT", help="gRPC address of the API server")
    made.add_argument(
        "--metrics-listen",
        default=f"127.0.0.1:{METRICS_PORT_OFFSET + port}",
        type=address,
        metavar="HOST:PORT",
        help="where Prometheus metrics are served, over plain HTTP at /metrics (default: %(default)s)",
    )
    return made


def without_tokens(arguments: argparse.Namespace) -> Iterable[str]:
    """What nobody need give who is known by his certificate, and who knows his callers by theirs."""
    return [*(["token"] if arguments.credential == "certificate" else []), *(["tokens"] if arguments.client_ca_file else [])]


def server_settings(arguments: argparse.Namespace) -> ServerSettings:
    """How the component listens; CommandError when its files do not fit together."""
    try:
        pair = KeptPair(arguments.cert, arguments.key)
    except (ssl.SSLError, OSError) as error:
        raise CommandError(f"--cert {arguments.cert} and --key {arguments.key} are not a certificate and its key: {error}") from error
    if arguments.client_ca_file is not None:
        read_ca(arguments.client_ca_file, "--client-ca-file")
    tokens = read_tokens(arguments.tokens) if arguments.tokens is not None else None
    authorities = arguments.client_ca_file or getattr(arguments, "ca", None)
    return ServerSettings(arguments.listen, pair, tokens, client_ca=arguments.client_ca_file, web_client_ca=authorities)


def read_tokens(path: Path) -> TokenTable:
    """The token file; CommandError when it is something else."""
    try:
        return TokenTable.load(path)
    except ValueError as error:
        raise CommandError(f"--tokens is not a token file: {error}") from error


def read_ca(path: Path, option: str = "--ca") -> bytes:
    """The CA's certificate, PEM; CommandError when it is something else."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise CommandError(f"{option} {path} holds no certificate: {error}") from error
    return path.read_bytes()


def read_token(path: Path) -> str:
    """The bearer token in a file; CommandError when it is empty or more than a token."""
    words = path.read_text(errors="replace").split()
    if len(words) != 1 or not words[0].isascii():
        raise CommandError(f"--token {path} holds no bearer token: a token is one word")
    return words[0]


def api_client(arguments: argparse.Namespace) -> RpcClient:
    """A client with this component's token or certificate; made inside the running loop."""
    ca = read_ca(arguments.ca)
    if arguments.credential == "certificate":
        return CertifiedRpcClient(arguments.apiserver, ca, KeptPair(arguments.cert, arguments.key))
    return connect(arguments.apiserver, arguments.ca, read_token(arguments.token))


async def introduce(client: RpcClient, arguments: argparse.Namespace) -> None:
    """Tells a token that is refused from an API server that is not there yet, which is waited for.

    Raises CommandError when the token is refused.
    """
    try:
        await client.create(authentication.SelfSubjectReview())
    except Unauthorized as error:
        told = f"the token in {arguments.token}" if arguments.credential == "token" else f"the certificate in {arguments.cert}"
        raise CommandError(f"the API server at {arguments.apiserver} refuses {told}") from error
    except StatusError as error:
        log.warning("the API server does not answer yet", extra={"apiserver": arguments.apiserver, "error": str(error)})


def run(arguments: argparse.Namespace, work: Callable[[], Awaitable[None]]) -> int:
    """Runs ``work`` until SIGTERM or SIGINT; 0 after an orderly stop, 1 after an error."""
    logs.configure(arguments.log_style, arguments.log_level)
    collector.share_heap()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_signalled(work))
    except CommandError as error:
        log.critical(str(error))
        return 1
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
    giving_back = asyncio.create_task(collector.give_back(), name="give-back")
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    await cancel([giving_back])
    if working.done():
        stopping.cancel()
        working.result()
        return
    log.info("stopping")
    await cancel([working], timeout_seconds=float("inf"))
    log.info("stopped")


async def start(host: Host, listen: str, *further: str) -> None:
    """Binds the host's ports; CommandError says why they cannot be had."""
    try:
        for where in (listen, *further):
            probe(where)
        await host.start()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise CommandError(f"{host.component.name}: cannot listen on {listen}: {reason or error}") from error
    collector.settle()


def probe(listen: str) -> None:
    """Binds an address and lets it go: gRPC itself does not tell what the system has against it. Raises OSError."""
    name, _, port = listen.rpartition(":")
    family, kind, protocol, _, where = socket.getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)


def run_component(arguments: argparse.Namespace, make: Callable[[RpcClient], Component]) -> int:
    """Hosts one component that is a client of the API server."""

    async def work() -> None:
        settings = server_settings(arguments)
        async with api_client(arguments) as client:
            await introduce(client, arguments)
            await serve(arguments, settings, client, make(client))

    return run(arguments, work)


async def serve(arguments: argparse.Namespace, settings: ServerSettings, client: RpcClient, component: Component) -> None:
    """Hosts a component until cancelled; its callers may do what the API server says."""
    host = Host(component, replace(settings, access=ReviewedAccess(client, component.right)))
    await start(host, arguments.listen)
    with ExitStack() as stack:
        try:
            stack.enter_context(exposed(arguments.metrics_listen))
        except OSError as error:
            raise CommandError(f"--metrics-listen {arguments.metrics_listen}: {error.strerror or error}") from error
        await host.run()
