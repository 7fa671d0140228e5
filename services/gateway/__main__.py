"""``python -m services.gateway``: an instance of the gateway as a process of its own."""

from __future__ import annotations

import argparse
import os
from ipaddress import IPv4Address
from pathlib import Path

from knarr.service.command import Parser, client_parser, run_component
from knarr.service.election import add_leader_election, election
from knarr.service.options import MAX_PORT, ipv4, number
from services.gateway.component import Gateway
from services.gateway.settings import LEASE, GatewaySettings, Published


def service_name(text: str) -> tuple[str, str] | None:
    """``NAMESPACE/NAME``; empty: none."""
    if not text:
        return None
    namespace, slash, name = text.partition("/")
    if not (slash and namespace and name) or "/" in name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAMESPACE/NAME of a Service, like kube-system/knarr-gateway")
    return namespace, name


def _published(parser: Parser, arguments: argparse.Namespace) -> Published | None:
    """Ends with the parser's error when it is not known where this instance is reached."""
    if arguments.publish_service is None:
        return None
    if arguments.status_address:
        parser.error("--publish-service and --status-address: what is told in a status is the Service's address, or one that is given")
    if len(arguments.address) != 1 or IPv4Address(arguments.address[0]).is_unspecified or IPv4Address(arguments.address[0]).is_loopback:
        parser.error("--publish-service needs one --address of this machine, which becomes the Service's endpoint")
    namespace, name = arguments.publish_service
    return Published(namespace, name, arguments.address[0], arguments.node_name)


def main() -> int:
    fresh = GatewaySettings(Path())
    parser = client_parser("gateway", "Lead requests from outside to pods, by host and path, as Ingresses and Gateways say.", port=10254)
    parser.add_argument(
        "--address",
        action="append",
        default=[],
        type=ipv4,
        metavar="IP",
        help="where clients reach it; may be given again (default: everywhere)",
    )
    parser.add_argument(
        "--http-port", default=fresh.http_port, type=number(1, MAX_PORT), metavar="PORT", help="opened for port 80 (default: %(default)s)"
    )
    parser.add_argument(
        "--https-port",
        default=fresh.https_port,
        type=number(1, MAX_PORT),
        metavar="PORT",
        help="opened for port 443 (default: %(default)s)",
    )
    parser.add_argument("--status-address", type=ipv4, metavar="IP", help="told in the status of what is served (default: none)")
    parser.add_argument(
        "--publish-service",
        type=service_name,
        metavar="NAMESPACE/NAME",
        help="a Service of type LoadBalancer, made where it is not there, whose endpoint this instance is, and whose addresses are told in "
        "the status of what is served; empty: none (default)",
    )
    parser.add_argument(
        "--gateway-addresses",
        choices=("own", "shared"),
        default="own",
        help="with --publish-service: own, each Gateway has a Service of its own beside it, and an address; shared, they are reached where "
        "Ingresses are (default: %(default)s)",
    )
    parser.add_argument("--node-name", default="", metavar="NAME", help="the node that has --address, for that endpoint (default: none)")
    parser.add_argument(
        "--threads", default=os.cpu_count() or 1, type=number(1, 64), metavar="NUMBER", help="of the proxy (default: %(default)s)"
    )
    parser.add_argument(
        "--connections",
        default=fresh.connections,
        type=number(100, 1_000_000),
        metavar="NUMBER",
        help="of clients at once (default: %(default)s)",
    )
    parser.add_argument(
        "--data-dir",
        default=Path("/var/lib/knarr-gateway"),
        type=Path,
        metavar="DIR",
        help="where its files lie, unless it is root (default: %(default)s)",
    )
    parser.add_argument(
        "--gateway-api",
        nargs="?",
        choices=("off", "on"),
        const="on",
        default="off",
        help="whether to make the kinds of Gateway API, with a class, where they are not there (default: %(default)s)",
    )
    add_leader_election(parser, LEASE)
    arguments = parser.parse_args()
    settings = GatewaySettings(
        folder=arguments.data_dir,
        addresses=tuple(arguments.address) or fresh.addresses,
        http_port=arguments.http_port,
        https_port=arguments.https_port,
        status_address=arguments.status_address or "",
        gateway_api=arguments.gateway_api == "on",
        published=_published(parser, arguments),
        apart=arguments.publish_service is not None and arguments.gateway_addresses == "own",
        election=election(parser, arguments),
        threads=arguments.threads,
        connections=arguments.connections,
    )
    return run_component(arguments, lambda client: Gateway(client, settings))


if __name__ == "__main__":
    raise SystemExit(main())
