"""``python -m services.controller``: the controller manager as a process of its own."""

from __future__ import annotations

import argparse
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from knarr.service.command import client_parser, read_ca, run_component
from knarr.service.election import add_leader_election, election
from knarr.service.errors import CommandError
from knarr.service.options import duration, number, optional_cidr, readable_file
from services.controller.component import LEASE, ControllerManager
from services.controller.controllers.nodeipam.decide import ClusterRange
from services.controller.settings import SIGNED_SECONDS, ControllerSettings, Signing

# What is good for less expires before it can be renewed.
SHORTEST_SECONDS = 60
# In the folder of `--trust`.
SIGNING_FILES = {"cert": "signing.crt", "key": "signing.key"}


def signing(arguments: argparse.Namespace) -> Signing | None:
    """By what requests for certificates are signed; None without files. CommandError where one of them is missing."""
    found: dict[str, Path] = {}
    for name, file in SIGNING_FILES.items():
        given = getattr(arguments, f"cluster_signing_{name}_file")
        path = given if given is not None or arguments.trust is None else arguments.trust / file
        if path is not None and path.is_file():
            found[name] = path
    if len(found) == 1:
        raise CommandError("--cluster-signing-cert-file and --cluster-signing-key-file belong together")
    return Signing(found["cert"], found["key"], arguments.cluster_signing_duration) if found else None


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
    for name, what in (("cert", "certificate of the authority that signs requests for certificates"), ("key", "its private key")):
        parser.add_argument(
            f"--cluster-signing-{name}-file",
            type=readable_file,
            metavar="FILE",
            help=f"{what}, PEM (default: {SIGNING_FILES[name]} in the folder of --trust, where it has one)",
        )
    parser.add_argument(
        "--cluster-signing-duration",
        default=SIGNED_SECONDS,
        type=duration(SHORTEST_SECONDS, 10 * 365 * 86_400),
        metavar="DURATION",
        help="how long what it signs is good for at most (default: a year)",
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
        signing=signing(arguments),
        api_hosts=(arguments.apiserver.rpartition(":")[0],),
    )
    return run_component(arguments, lambda client: ControllerManager(client, settings(root_certificate=read_ca(arguments.ca).decode())))


if __name__ == "__main__":
    raise SystemExit(main())
