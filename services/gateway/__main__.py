"""``python -m services.gateway``: an instance of the gateway as a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

from knarr.service.command import client_parser, run_component
from knarr.service.options import MAX_PORT, ipv4, number
from services.gateway.component import Gateway
from services.gateway.settings import GatewaySettings


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
    parser.add_argument(
        "--status-address", default="", type=ipv4, metavar="IP", help="told in the status of what is served (default: none)"
    )
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
    parser.add_argument("--gateway-api", action="store_true", help="make the kinds of Gateway API, with a class, where they are not there")
    arguments = parser.parse_args()
    settings = GatewaySettings(
        folder=arguments.data_dir,
        addresses=tuple(arguments.address) or fresh.addresses,
        http_port=arguments.http_port,
        https_port=arguments.https_port,
        status_address=arguments.status_address,
        gateway_api=arguments.gateway_api,
        threads=arguments.threads,
        connections=arguments.connections,
    )
    return run_component(arguments, lambda client: Gateway(client, settings))


if __name__ == "__main__":
    raise SystemExit(main())
