"""``python -m services.proxy``: a node's proxy as a process of its own."""

from __future__ import annotations

from knarr.service.command import client_parser, run_component
from knarr.service.options import cidr
from services.proxy.service import DATAPATHS, Proxy
from services.proxy.settings import ProxySettings


def main() -> int:
    parser = client_parser("proxy", "Carry the connections of Services to their endpoints on this node.", port=10256)
    parser.add_argument("--datapath", choices=tuple(DATAPATHS), default=ProxySettings().datapath, help="(default: %(default)s)")
    parser.add_argument("--service-cidr", default=ProxySettings().service_cidr, type=cidr, metavar="CIDR")
    parser.add_argument("--cluster-cidr", default=ProxySettings().pod_cidr, type=cidr, metavar="CIDR", help="addresses of all pods")
    parser.add_argument("--instance", default="", help="keeps several proxies of one machine apart")
    arguments = parser.parse_args()
    settings = ProxySettings(
        datapath=arguments.datapath, instance=arguments.instance, service_cidr=arguments.service_cidr, pod_cidr=arguments.cluster_cidr
    )
    return run_component(arguments, lambda client: Proxy(client, settings))


if __name__ == "__main__":
    raise SystemExit(main())
