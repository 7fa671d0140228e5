"""The command line's flags about processors, named as kubelet's, and the settings they make."""

from __future__ import annotations

import argparse
from typing import Any

from knarr.service.options import checked
from services.kubelet.cpu_policy import NONE, POLICIES, STATIC, CpuPolicy, parse_cpus, parse_options


def add_cpu_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them; ``cpu_settings`` reads them."""
    group = parser.add_argument_group("processors", "named as kubelet's, with its defaults")
    group.add_argument(
        "--cpu-manager-policy",
        choices=POLICIES,
        default=NONE,
        help=f"{STATIC}: containers of Guaranteed pods that ask for whole processors have them alone (default: %(default)s)",
    )
    group.add_argument(
        "--cpu-manager-policy-options",
        type=checked(_options),
        default={},
        metavar="NAME=true,…",
        help=f"of the policy {STATIC}: full-pcpus-only, distribute-cpus-across-numa, strict-cpu-reservation",
    )
    group.add_argument(
        "--reserved-cpus",
        type=checked(parse_cpus),
        default=frozenset(),
        metavar="LIST",
        help="processors that are kept for the system, like 0-1,8, instead of so many as cpu in --kube-reserved and --system-reserved says",
    )
    for name, what in (
        ("--topology-manager-policy", "aligns devices and processors"),
        ("--memory-manager-policy", "gives memory of one node"),
    ):
        group.add_argument(name, type=_none, default=NONE, metavar=NONE, help=f"nothing here {what} of NUMA: {NONE} is all there is")


def cpu_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of KubeletSettings, reservations among them: a list takes the place of amounts. Raises ValueError where flags contradict one
    another."""
    static, options, reserved = arguments.cpu_manager_policy == STATIC, arguments.cpu_manager_policy_options, arguments.reserved_cpus
    kube, system = dict(arguments.kube_reserved), dict(arguments.system_reserved)
    if options and not static:
        raise ValueError(f"--cpu-manager-policy-options are of the policy {STATIC}: give --cpu-manager-policy={STATIC}")
    if reserved:
        kube.pop("cpu", None)
        system["cpu"] = 1000 * len(reserved)
    if static and not kube.get("cpu", 0) + system.get("cpu", 0):
        raise ValueError(
            f"--cpu-manager-policy={STATIC} needs processors that are kept for the system: give --reserved-cpus,"
            " or cpu in --kube-reserved or --system-reserved"
        )
    return {
        "cpu_policy": CpuPolicy(static=static, reserved=reserved, **options),
        "kube_reserved": kube,
        "system_reserved": system,
    }


def _options(text: str) -> dict[str, bool]:
    pairs = [part.partition("=") for part in filter(None, text.split(","))]
    return parse_options({name.strip(): value.strip() for name, _, value in pairs})


def _none(text: str) -> str:
    if text.lower() != NONE:
        raise argparse.ArgumentTypeError(f"there is no policy {text!r} here: leave it out, or say {NONE}")
    return NONE
