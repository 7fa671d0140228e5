"""``python -m services.dns``: an instance of the cluster DNS as a process of its own."""

from __future__ import annotations

import argparse
from ipaddress import IPv4Address
from pathlib import Path

from knarr.service.command import client_parser, run_component
from knarr.service.options import MAX_PORT, cidr, domain, ipv4, number
from services.dns.component import Dns
from services.dns.settings import DnsSettings
from services.dns.upstream.resolv_conf import parse_server


def upstream(text: str) -> str:
    """``IP`` or ``IP:PORT``."""
    try:
        return str(parse_server(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not IP or IP:PORT, like 192.0.2.53") from None


def own_address(text: str) -> str:
    """An IPv4 address of this machine."""
    found = ipv4(text)
    if IPv4Address(found).is_unspecified:
        raise argparse.ArgumentTypeError(f"{text!r} is no address that pods can reach: give one of this machine's")
    return found


def main() -> int:
    fresh = DnsSettings("")
    parser = client_parser("dns", "Answer the names of the cluster, and ask others for the rest.", port=10253)
    parser.add_argument(
        "--address",
        required=True,
        type=own_address,
        metavar="IP",
        help="where DNS is served",
    )
    parser.add_argument(
        "--advertise-address",
        type=ipv4,
        metavar="IP",
        help="what is registered: by which pods reach it (default: that of --address)",
    )
    parser.add_argument(
        "--port", default=fresh.port, type=number(1, MAX_PORT), metavar="PORT", help="UDP and TCP port of DNS (default: %(default)s)"
    )
    parser.add_argument(
        "--cluster-dns", default="10.96.0.10", type=ipv4, metavar="IP", help="of the Service kube-dns (default: %(default)s)"
    )
    parser.add_argument("--cluster-domain", default=fresh.domain, type=domain, metavar="NAME", help="(default: %(default)s)")
    parser.add_argument("--service-cidr", default=fresh.service_cidr, type=cidr, metavar="CIDR", help="(default: %(default)s)")
    parser.add_argument(
        "--cluster-cidr", default=fresh.pod_cidr, type=cidr, metavar="CIDR", help="addresses of all pods (default: %(default)s)"
    )
    parser.add_argument("--node-name", default="", metavar="NAME", help="the node it runs on, if any")
    parser.add_argument(
        "--upstream",
        action="append",
        default=[],
        type=upstream,
        metavar="IP[:PORT]",
        help="asked for other names (default: as --resolv-conf says)",
    )
    parser.add_argument("--resolv-conf", default=fresh.resolv_conf, type=Path, metavar="FILE", help="(default: %(default)s)")
    arguments = parser.parse_args()
    settings = DnsSettings(
        address=arguments.address,
        advertise_address=arguments.advertise_address or "",
        port=arguments.port,
        domain=arguments.cluster_domain,
        cluster_ip=arguments.cluster_dns,
        service_cidr=arguments.service_cidr,
        pod_cidr=arguments.cluster_cidr,
        node_name=arguments.node_name,
        upstreams=tuple(arguments.upstream),
        resolv_conf=arguments.resolv_conf,
    )
    return run_component(arguments, lambda client: Dns(client, settings))


if __name__ == "__main__":
    raise SystemExit(main())
