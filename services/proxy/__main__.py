"""``python -m services.proxy``: a node's proxy as a process of its own."""

from __future__ import annotations

import socket

from knarr.service.command import client_parser, run_component
from knarr.service.options import MAX_PORT, cidr, number, optional_cidr
from services.proxy.component import DATAPATHS, Proxy
from services.proxy.podnetwork.plan import MODES, OFF
from services.proxy.settings import ProxySettings

MAX_VXLAN_ID = (1 << 24) - 1


def main() -> int:
    fresh = ProxySettings()
    parser = client_parser("proxy", "Carry the connections of Services to their endpoints on this node.", port=10256)
    parser.add_argument("--datapath", choices=tuple(DATAPATHS), default=fresh.datapath, help="(default: %(default)s)")
    parser.add_argument("--service-cidr", default=fresh.service_cidr, type=cidr, metavar="CIDR")
    parser.add_argument("--cluster-cidr", default=fresh.pod_cidr, type=cidr, metavar="CIDR", help="addresses of all pods")
    parser.add_argument(
        "--pod-network",
        choices=MODES,
        default=OFF,
        help="how pods of other nodes are reached; auto: by routes on this node's network, by VXLAN beyond it (default: %(default)s)",
    )
    parser.add_argument(
        "--node-name",
        default=socket.gethostname().lower(),
        metavar="NAME",
        help="this node's, for the pod network and traffic policies Local (default: the machine's)",
    )
    parser.add_argument(
        "--load-balancer-cidr",
        default=fresh.load_balancer_cidr,
        type=optional_cidr,
        metavar="CIDR",
        help="where load balancers get their addresses from a pool of the cluster's own (default: there is none)",
    )
    parser.add_argument("--pod-bridge", default="kn-knarr", metavar="DEVICE", help="the bridge of this node's pods (default: %(default)s)")
    parser.add_argument(
        "--vxlan-id",
        default=fresh.vxlan_id,
        type=number(1, MAX_VXLAN_ID),
        metavar="NUMBER",
        help="the same on all nodes (default: %(default)s)",
    )
    parser.add_argument(
        "--vxlan-port",
        default=fresh.vxlan_port,
        type=number(1, MAX_PORT),
        metavar="PORT",
        help="UDP, the same on all nodes (default: %(default)s)",
    )
    parser.add_argument("--no-network-policies", action="store_true", help="let everybody reach every pod, whatever NetworkPolicies say")
    parser.add_argument("--instance", default="", help="keeps several proxies of one machine apart")
    arguments = parser.parse_args()
    settings = ProxySettings(
        datapath=arguments.datapath,
        instance=arguments.instance,
        service_cidr=arguments.service_cidr,
        pod_cidr=arguments.cluster_cidr,
        load_balancer_cidr=arguments.load_balancer_cidr,
        pod_bridge=arguments.pod_bridge,
        pod_network=arguments.pod_network,
        node_name=arguments.node_name,
        vxlan_id=arguments.vxlan_id,
        vxlan_port=arguments.vxlan_port,
        network_policies=not arguments.no_network_policies,
    )
    return run_component(arguments, lambda client: Proxy(client, settings))


if __name__ == "__main__":
    raise SystemExit(main())
