"""``python -m services.controller``: the controller manager as a process of its own."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Network

from knarr.service.command import client_parser, read_ca, run_component
from knarr.service.election import add_leader_election, election
from knarr.service.options import number, optional_cidr
from services.controller.component import LEASE, ControllerManager
from services.controller.controllers.nodeipam.decide import ClusterRange
from services.controller.settings import ControllerSettings


def main() -> int:
    parser = client_parser("controller", "Keep the cluster as its objects want it.", port=10257)
    add_leader_election(parser, LEASE)
    fresh = ControllerSettings()
    parser.add_argument(
        "--cluster-cidr",
        default=fresh.cluster_cidr,
        type=optional_cidr,
        metavar="CIDR",
        help="addresses of all pods, of which each node gets a part; empty: nodes bring their own (default: %(default)s)",
    )
    parser.add_argument(
        "--node-cidr-mask-size", default=fresh.node_mask_size, type=number(1, 30), metavar="BITS", help="(default: %(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.cluster_cidr:
        try:
            ClusterRange(IPv4Network(arguments.cluster_cidr), arguments.node_cidr_mask_size)
        except ValueError as error:
            parser.error(f"--node-cidr-mask-size: {error}")
    settings = partial(
        ControllerSettings,
        election=election(parser, arguments),
        cluster_cidr=arguments.cluster_cidr,
        node_mask_size=arguments.node_cidr_mask_size,
    )
    return run_component(arguments, lambda client: ControllerManager(client, settings(root_certificate=read_ca(arguments.ca).decode())))


if __name__ == "__main__":
    raise SystemExit(main())
