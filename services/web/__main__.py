"""``python -m services.web``: the page of a cluster as a process of its own, for all who have a token."""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from knarr.service.command import client_parser, run_component
from knarr.service.keypair import KeptPair
from knarr.service.options import MAX_PORT, address, number
from services.web.component import Web
from services.web.remote_parts import Instance
from services.web.settings import WebSettings

# Of components, as the page calls them.
ASKED = ("apiserver", "scheduler", "controller", "cloud", "dns", "proxy", "gateway")


def server(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is no address of the REST API, like https://192.0.2.10:6443")
    return text.rstrip("/")


def part(text: str) -> Instance:
    """``NAME=HOST:PORT``."""
    name, _, where = text.partition("=")
    if name not in ASKED:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=HOST:PORT with one of {', '.join(ASKED)}")
    return Instance(name, address(where))


def spare(text: str) -> Instance:
    found = part(text)
    return Instance(found.component, found.address, spare=True)


def main() -> int:
    fresh = WebSettings("")
    parser = client_parser("web", "Show a cluster in browsers, to each viewer what he may see.", port=10255)
    parser.add_argument("--server", required=True, type=server, metavar="URL", help="of the REST API, for whoever looks")
    parser.add_argument(
        "--page",
        default=f"{fresh.host}:{fresh.port}",
        type=address,
        metavar="HOST:PORT",
        help="where the page is served, over plain HTTP: for browsers of this machine (default: %(default)s)",
    )
    parser.add_argument(
        "--page-name", action="append", default=[], metavar="NAME", help="of a host by which browsers call it (default: those of loopback)"
    )
    parser.add_argument(
        "--page-port", default=0, type=number(0, MAX_PORT), metavar="PORT", help="at which they do (default: that of --page)"
    )
    parser.add_argument(
        "--part", action="append", default=[], type=part, metavar="NAME=HOST:PORT", help=f"an instance of {', '.join(ASKED)}, to be asked"
    )
    parser.add_argument(
        "--spare-part", action="append", default=[], type=spare, metavar="NAME=HOST:PORT", help="the same of one that need not be there"
    )
    parser.add_argument(
        "--history",
        type=Path,
        metavar="DIR",
        help="where it is kept for a day what each viewer has seen (default: nowhere)",
    )
    arguments = parser.parse_args()
    host, _, port = arguments.page.rpartition(":")
    settings = WebSettings(
        server=arguments.server,
        host=host.strip("[]"),
        port=int(port),
        names=tuple(arguments.page_name) or fresh.names,
        published=arguments.page_port,
        history=arguments.history,
        instances=(*arguments.part, *arguments.spare_part),
    )
    return run_component(arguments, lambda client: Web(settings, arguments.ca, KeptPair(arguments.cert, arguments.key)))


if __name__ == "__main__":
    raise SystemExit(main())
