"""``python -m services.cloud``: the cloud controller manager as a process of its own."""

from __future__ import annotations

import argparse
from typing import Any

from knarr.service.command import client_parser, run_component
from knarr.service.election import add_leader_election, election
from knarr.service.options import optional_cidr, readable_file, seconds
from services.cloud.component import LEASE, CloudControllerManager
from services.cloud.configuration import ConfigurationError, load_sections, read_section
from services.cloud.providers.catalog import PROVIDERS, provider_type
from services.cloud.settings import CloudSettings


def arguments_parser() -> argparse.ArgumentParser:
    fresh = CloudSettings()
    parser = client_parser("cloud", "Get machines, load balancers and routes from whoever provides them.", port=10258)
    add_leader_election(parser, LEASE)
    parser.add_argument("--cloud-provider", choices=sorted(PROVIDERS), default=fresh.provider, help="(default: %(default)s)")
    parser.add_argument("--cloud-config", type=readable_file, metavar="FILE", help="YAML with a section for each provider")
    parser.add_argument("--local-pool", metavar="RANGES", help="for the provider local: its pool instead of the file's, like 10.97.0.0/24")
    parser.add_argument(
        "--cluster-name", default=fresh.cluster, metavar="NAME", help="names this cluster at the provider (default: %(default)s)"
    )
    parser.add_argument(
        "--cluster-cidr",
        default=fresh.cluster_cidr,
        type=optional_cidr,
        metavar="CIDR",
        help="addresses of all pods (default: %(default)s)",
    )
    parser.add_argument(
        "--call-timeout",
        default=fresh.call_timeout_seconds,
        type=seconds,
        metavar="SECONDS",
        help="how long the provider may take for an answer (default: %(default)s)",
    )
    return parser


def provider_settings(arguments: argparse.Namespace) -> Any:
    """The settings of the provider that was chosen; ConfigurationError."""
    name = arguments.cloud_provider
    sections = load_sections(arguments.cloud_config, PROVIDERS) if arguments.cloud_config is not None else {}
    section = sections.get(name)
    if arguments.local_pool is not None:
        if name != "local":
            raise ConfigurationError("--local-pool is for the provider local")
        section = {**(section or {}), "pool": [part.strip() for part in arguments.local_pool.split(",")]}
    return read_section(provider_type(name).settings, section, name)


def main() -> int:
    parser = arguments_parser()
    arguments = parser.parse_args()
    try:
        options = provider_settings(arguments)
    except ConfigurationError as error:
        parser.error(str(error))
    settings = CloudSettings(
        provider=arguments.cloud_provider,
        provider_settings=options,
        cluster=arguments.cluster_name,
        cluster_cidr=arguments.cluster_cidr,
        election=election(parser, arguments),
        call_timeout_seconds=arguments.call_timeout,
    )
    return run_component(arguments, lambda client: CloudControllerManager(client, settings))


if __name__ == "__main__":
    raise SystemExit(main())
