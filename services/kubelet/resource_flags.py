"""The command line's flags about a node's resources, named as kubelet's, and the settings they make."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from knarr.machinery import quantity
from knarr.objects.amounts import whole
from knarr.service.options import add_boolean, checked, duration, number
from services.kubelet.swap_behavior import LIMITED_SWAP, NO_SWAP, SWAP_BEHAVIORS
from services.kubelet.thresholds import DEFAULT_HARD, GarbageRules, parse_amounts, parse_graces, thresholds_of

RESERVABLE = ("cpu", "memory", "ephemeral-storage", "pid")
YEAR_SECONDS = 366 * 24 * 3600.0
MONTH_SECONDS = 30 * 24 * 3600.0


def add_resource_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them; ``resource_settings`` reads them."""
    group = parser.add_argument_group("resources of the node", "named as kubelet's, with its defaults")
    for name, whose in (("--kube-reserved", "the kubelet and the engine"), ("--system-reserved", "the machine's other processes")):
        group.add_argument(
            name, type=reserved, default={}, metavar="NAME=AMOUNT,…", help=f"kept for {whose}: {', '.join(RESERVABLE)} (default: nothing)"
        )
    add_boolean(group, "--fail-swap-on", "do not start where the machine has swap")
    group.add_argument(
        "--memory-swap-behavior",
        choices=SWAP_BEHAVIORS,
        default=NO_SWAP,
        help=f"{LIMITED_SWAP}: containers of Burstable pods may use as large a share of the swap as they ask for of the memory"
        " (default: %(default)s)",
    )
    group.add_argument("--max-pods", type=number(0, 1 << 20), default=110, metavar="N", help="most pods (default: %(default)s)")
    _add_eviction_flags(group)
    _add_image_flags(group)


def _add_eviction_flags(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--eviction-hard",
        type=checked(lambda text: parse_amounts(text, "<", zero=True)),
        default=DEFAULT_HARD,
        metavar="SIGNAL<AMOUNT,…",
        help="pods are ended at once where so little of a signal is left (default: " + DEFAULT_HARD.replace("%", "%%") + ")",
    )
    group.add_argument(
        "--eviction-soft",
        type=checked(lambda text: parse_amounts(text, "<", zero=False)),
        default={},
        metavar="SIGNAL<AMOUNT,…",
        help="pods are ended where so little has been left for the grace period of its signal (default: none)",
    )
    group.add_argument(
        "--eviction-soft-grace-period",
        type=checked(parse_graces),
        default={},
        metavar="SIGNAL=TIME,…",
        help="how long so little must have been left for a soft threshold, each of which needs one, like memory.available=1m30s",
    )
    group.add_argument(
        "--eviction-minimum-reclaim",
        type=checked(lambda text: parse_amounts(text, "=", zero=True)),
        default={},
        metavar="SIGNAL=AMOUNT,…",
        help="how much more than the threshold must be left until no more pods are ended (default: nothing)",
    )
    group.add_argument(
        "--eviction-max-pod-grace-period",
        type=number(0, 1 << 31),
        default=0,
        metavar="SECONDS",
        help="how long the containers of a pod may take to end where a soft threshold is met (default: %(default)s)",
    )
    group.add_argument(
        "--eviction-pressure-transition-period",
        type=duration(0.0, MONTH_SECONDS),
        default=300.0,
        metavar="TIME",
        help="how long MemoryPressure, DiskPressure and PIDPressure stay true after their cause has gone (default: 5m0s)",
    )


def _add_image_flags(group: argparse._ActionsContainer) -> None:
    for name, default, help_text in (
        (
            "--image-gc-high-threshold",
            85,
            "how full the disk of the images may be, in percent, before those that this kubelet fetched are given up",
        ),
        ("--image-gc-low-threshold", 80, "how full it is to be after that"),
    ):
        group.add_argument(name, type=number(0, 100), default=default, metavar="PERCENT", help=f"{help_text} (default: %(default)s)")
    for name, seconds, help_text in (
        ("--minimum-image-ttl-duration", 120.0, "how long an image is kept at least (default: 2m0s)"),
        ("--image-maximum-gc-age", 0.0, "how long an image that this kubelet fetched may lie unused; 0s: for ever (default)"),
    ):
        group.add_argument(name, type=duration(0.0, YEAR_SECONDS), default=seconds, metavar="TIME", help=help_text)


def resource_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of KubeletSettings. Raises ValueError where flags contradict one another."""
    if arguments.image_gc_low_threshold >= arguments.image_gc_high_threshold and arguments.image_gc_high_threshold < 100:
        raise ValueError("--image-gc-low-threshold must be less than --image-gc-high-threshold")
    return {
        "image_garbage": GarbageRules(
            arguments.image_gc_high_threshold,
            arguments.image_gc_low_threshold,
            timedelta(seconds=arguments.minimum_image_ttl_duration),
            timedelta(seconds=arguments.image_maximum_gc_age),
        ),
        "kube_reserved": arguments.kube_reserved,
        "system_reserved": arguments.system_reserved,
        "swap_behavior": arguments.memory_swap_behavior,
        "fail_swap_on": arguments.fail_swap_on,
        "max_pods": arguments.max_pods,
        "thresholds": thresholds_of(
            arguments.eviction_hard,
            arguments.eviction_soft,
            arguments.eviction_soft_grace_period,
            arguments.eviction_minimum_reclaim,
        ),
        "pressure_transition_seconds": arguments.eviction_pressure_transition_period,
        "eviction_max_pod_grace_seconds": float(arguments.eviction_max_pod_grace_period),
    }


def reserved(text: str) -> dict[str, int]:
    """``cpu=100m,memory=1Gi`` in whole units: milli-CPU, bytes, processes."""
    found: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, amount = part.partition("=")
        if name not in RESERVABLE:
            raise argparse.ArgumentTypeError(f"{name!r} cannot be reserved; only {', '.join(RESERVABLE)}")
        try:
            quantity.parse(amount)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{amount!r} is no amount of {name}, like 100m or 1Gi") from None
        found[name] = whole(name, amount)
        if found[name] < 0:
            raise argparse.ArgumentTypeError(f"{part!r} must not be negative")
    return found
