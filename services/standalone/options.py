"""The options that choose a one-machine cluster, the same for ``knarr up`` and for the process that it starts."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from knarr.service.options import MAX_PORT, cidr, domain
from services.standalone.settings import DEFAULT_DATA_DIR, ClusterSettings, Ports

PORT_NAMES = [field.name for field in dataclasses.fields(Ports)]
# Settings that are not chosen by an option of their own.
NO_OPTIONS = ("data_dir", "ports", "node_ports", "listen_address")


def add_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir", type=Path, default=DEFAULT_DATA_DIR, metavar="DIR", help="the cluster's files (default: %(default)s)"
    )


def add_settings(command: argparse.ArgumentParser) -> None:
    """The options that make ClusterSettings; the background process takes the same.

    An option that is not given stays as it was chosen for this data directory before.
    """
    add_data_dir(command)
    fresh = ClusterSettings()

    def add(name: str, text: str, **how: Any) -> None:
        default = getattr(fresh, name.replace("-", "_"))
        suffix = f" (default: {default})" if default else ""
        command.add_argument(f"--{name}", default=argparse.SUPPRESS, help=text + suffix, **how)

    add("runtime", "run containers, or simulate them", choices=("docker", "hollow"))
    add("datapath", "how Services are load-balanced", choices=("nftables", "userspace"))
    add("node-name", "the node's name (default: the machine's)", metavar="NAME")
    add("log-style", "how the log is written", choices=("text", "json"))
    add("log-level", "the least important messages that are logged", choices=("debug", "info", "warning", "error"))
    add("service-cidr", "addresses of Services", type=cidr, metavar="CIDR")
    add("cluster-cidr", "addresses of all pods", type=cidr, metavar="CIDR")
    add("pod-cidr", "the part of them that is this node's", type=cidr, metavar="CIDR")
    add("load-balancer-pool", "addresses of Services of type LoadBalancer", type=cidr, metavar="CIDR")
    add("cluster-domain", "the ending of all names in the cluster", type=domain, metavar="DOMAIN")
    for name in PORT_NAMES:
        default = getattr(Ports(), name)
        command.add_argument(f"--{name}-port", type=_port, default=argparse.SUPPRESS, metavar="PORT", help=f"(default: {default})")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to {MAX_PORT}")
    return int(text)


def settings_from(arguments: argparse.Namespace) -> ClusterSettings:
    """What was chosen now, over what was chosen before."""
    before = ClusterSettings.saved(arguments.data_dir)
    given = vars(arguments)
    ports = {name: given[f"{name}_port"] for name in PORT_NAMES if f"{name}_port" in given}
    names = {field.name for field in dataclasses.fields(ClusterSettings)} - {"data_dir", "ports"}
    values = {name: value for name, value in given.items() if name in names}
    return dataclasses.replace(before, ports=dataclasses.replace(before.ports, **ports), **values)


def options_of(settings: ClusterSettings) -> list[str]:
    """The command line that ``settings_from`` turns back into the same settings."""
    names = [field.name for field in dataclasses.fields(settings) if field.name not in NO_OPTIONS]
    options = {name.replace("_", "-"): getattr(settings, name) for name in names}
    ports = {f"{name}-port": getattr(settings.ports, name) for name in PORT_NAMES}
    return [f"--{name}={value}" for name, value in {"data-dir": settings.data_dir.absolute(), **options, **ports}.items()]
