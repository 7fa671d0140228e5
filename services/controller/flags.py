"""The command line of the controller manager: its flags, named as Kubernetes' where that has them, and the settings they make."""

from __future__ import annotations

import argparse
from ipaddress import IPv4Network

from knarr.client.leader import Election
from knarr.service.command import trusted_file
from knarr.service.election import add_leader_election
from knarr.service.errors import CommandError
from knarr.service.options import decimal, driver_sockets, duration, number, optional_cidr, readable_file
from services.controller.component import LEASE
from services.controller.controllers.nodeipam.decide import ClusterRange
from services.controller.settings import SIGNED_SECONDS, ControllerSettings, EvictionRates, Signing

# What is good for less expires before it can be renewed.
SHORTEST_SECONDS = 60
FRESH = ControllerSettings()
# Nodes a second: more are as good as all at once.
FASTEST = 1000.0
MOST_NODES = 1_000_000
# By what follows --horizontal-pod-autoscaler-, which are Kubernetes' names: the shortest, the usual one, what it is.
AUTOSCALER_TIMES = {
    "sync-period": (0.1, FRESH.autoscaler_sync_seconds, "how often each autoscaler is looked at"),
    "downscale-stabilization": (
        0.0,
        FRESH.autoscaler_downscale_stabilization_seconds,
        "within which recommendations count before pods go, where the autoscaler says nothing of its own",
    ),
    "cpu-initialization-period": (
        0.0,
        FRESH.autoscaler_cpu_initialization_seconds,
        "how long after its start the CPU of a pod that is not ready says nothing",
    ),
    "initial-readiness-delay": (
        0.0,
        FRESH.autoscaler_initial_readiness_seconds,
        "how long after its start a pod may be unready and count as never ready yet",
    ),
}
# In the folder of `--trust`.
SIGNING_FILES = {"cert": "signing.crt", "key": "signing.key"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them; ``settings_of`` reads them."""
    add_leader_election(parser, LEASE)
    for add in (_add_ranges, _add_signing, _add_storage, _add_evictions, _add_autoscaler):
        add(parser)


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Ends the process, in words, where flags do not go together."""
    if arguments.cluster_cidr:
        try:
            ClusterRange(IPv4Network(arguments.cluster_cidr), arguments.node_cidr_mask_size)
        except ValueError as error:
            parser.error(f"--node-cidr-mask-size: {error}")


def settings_of(arguments: argparse.Namespace, leadership: Election, root_certificate: str) -> ControllerSettings:
    """CommandError where one of two files that belong together is missing."""
    return ControllerSettings(
        election=leadership,
        cluster_cidr=arguments.cluster_cidr,
        node_mask_size=arguments.node_cidr_mask_size,
        signing=signing(arguments),
        csi_drivers=arguments.csi_driver,
        csi_seconds=arguments.csi_timeout,
        api_hosts=(arguments.apiserver.rpartition(":")[0],),
        node_grace_seconds=arguments.node_monitor_grace_period,
        eviction_rates=EvictionRates(
            per_second=arguments.node_eviction_rate,
            disrupted_per_second=arguments.secondary_node_eviction_rate,
            large_zone=arguments.large_cluster_size_threshold,
            unhealthy_share=arguments.unhealthy_zone_threshold,
        ),
        legacy_token_clean_up_seconds=arguments.legacy_service_account_token_clean_up_period,
        autoscaler_sync_seconds=arguments.horizontal_pod_autoscaler_sync_period,
        autoscaler_downscale_stabilization_seconds=arguments.horizontal_pod_autoscaler_downscale_stabilization,
        autoscaler_cpu_initialization_seconds=arguments.horizontal_pod_autoscaler_cpu_initialization_period,
        autoscaler_initial_readiness_seconds=arguments.horizontal_pod_autoscaler_initial_readiness_delay,
        root_certificate=root_certificate,
    )


def signing(arguments: argparse.Namespace) -> Signing | None:
    """By what requests for certificates are signed; None without files. CommandError where one of them is missing."""
    cert, key = (trusted_file(arguments, f"cluster_signing_{name}_file", file) for name, file in SIGNING_FILES.items())
    if (cert is None) != (key is None):
        raise CommandError("--cluster-signing-cert-file and --cluster-signing-key-file belong together")
    return Signing(cert, key, arguments.cluster_signing_duration) if cert is not None and key is not None else None


def _add_ranges(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("addresses of pods")
    group.add_argument(
        "--cluster-cidr",
        default=FRESH.cluster_cidr,
        type=optional_cidr,
        metavar="CIDR",
        help="addresses of all pods, of which each node gets a part; empty: nodes bring their own (default: %(default)s)",
    )
    group.add_argument(
        "--node-cidr-mask-size", default=FRESH.node_mask_size, type=number(1, 30), metavar="BITS", help="(default: %(default)s)"
    )


def _add_signing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("certificates and tokens")
    for name, what in (("cert", "certificate of the authority that signs requests for certificates"), ("key", "its private key")):
        group.add_argument(
            f"--cluster-signing-{name}-file",
            type=readable_file,
            metavar="FILE",
            help=f"{what}, PEM (default: {SIGNING_FILES[name]} in the folder of --trust, where it has one)",
        )
    group.add_argument(
        "--cluster-signing-duration",
        default=SIGNED_SECONDS,
        type=duration(SHORTEST_SECONDS, 10 * 365 * 86_400),
        metavar="DURATION",
        help="how long what it signs is good for at most (default: a year)",
    )
    group.add_argument(
        "--legacy-service-account-token-clean-up-period",
        default=FRESH.legacy_token_clean_up_seconds,
        type=duration(86_400, 10 * 365 * 86_400),
        metavar="DURATION",
        help="how long a token in an account's Secret may be unused before it is marked, and marked before it is deleted (default: a year)",
    )


def _add_storage(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("drivers of volumes")
    group.add_argument(
        "--csi-driver",
        default={},
        type=driver_sockets,
        metavar="NAME=unix:///PATH,...",
        help="drivers of volumes that are asked to make, attach and grow them, and where each listens; for those that bring no"
        " controllers of their own (default: none)",
    )
    group.add_argument(
        "--csi-timeout",
        default=FRESH.csi_seconds,
        type=duration(1.0, 3600.0),
        metavar="DURATION",
        help=f"how long such a driver may take for a call, before it is asked again (default: {FRESH.csi_seconds:g}s)",
    )


def _add_evictions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "nodes that fail", "a zone is the nodes of one region and zone by their labels, or all that have none"
    )
    rates, a_rate, nodes = FRESH.eviction_rates, decimal(0, FASTEST), number(0, MOST_NODES)
    group.add_argument(
        "--node-monitor-grace-period",
        default=FRESH.node_grace_seconds,
        type=duration(1.0, 86_400.0),
        metavar="DURATION",
        help=f"how long a node may be silent before it is not ready (default: {FRESH.node_grace_seconds:g}s)",
    )
    for name, default, kind, word, what in (
        ("node-eviction-rate", rates.per_second, a_rate, "RATE", "nodes a second of a zone that may begin to lose their pods"),
        (
            "secondary-node-eviction-rate",
            rates.disrupted_per_second,
            a_rate,
            "RATE",
            "the same of a zone where too many nodes are not ready; none of one that is not large",
        ),
        ("large-cluster-size-threshold", rates.large_zone, nodes, "NODES", "a zone with more nodes is large"),
        ("unhealthy-zone-threshold", rates.unhealthy_share, decimal(0, 1), "SHARE", "of a zone's nodes, and three at least: too many"),
    ):
        group.add_argument(f"--{name}", default=default, type=kind, metavar=word, help=f"{what} (default: %(default)s)")


def _add_autoscaler(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("autoscaling")
    for name, (shortest, default, what) in AUTOSCALER_TIMES.items():
        group.add_argument(
            f"--horizontal-pod-autoscaler-{name}",
            default=default,
            type=duration(shortest, 86_400),
            metavar="DURATION",
            help=f"{what} (default: {default:g}s)",
        )
