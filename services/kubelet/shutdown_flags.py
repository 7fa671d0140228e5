"""The command line's flags about pods of a machine that shuts down, named as the fields of Kubernetes' KubeletConfiguration."""

from __future__ import annotations

import argparse

from knarr.service.options import duration
from services.kubelet.pod.critical import SYSTEM_CRITICAL
from services.kubelet.settings import ShutdownPeriod

DAY_SECONDS = 24 * 3600.0
MOST_PERIODS = 100


def add_shutdown_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them; ``shutdown_periods`` reads them."""
    group = parser.add_argument_group("shutdown of the machine", "named as in Kubernetes' KubeletConfiguration")
    group.add_argument(
        "--shutdown-grace-period",
        type=duration(0.0, DAY_SECONDS),
        default=0.0,
        metavar="TIME",
        help="how long all pods may take to end when the machine shuts down (default: they end with it)",
    )
    group.add_argument(
        "--shutdown-grace-period-critical-pods",
        type=duration(0.0, DAY_SECONDS),
        default=0.0,
        metavar="TIME",
        help="the last part of --shutdown-grace-period, which is kept for critical pods (default: none)",
    )
    group.add_argument(
        "--shutdown-grace-period-by-pod-priority",
        type=by_priority,
        default=(),
        metavar="PRIORITY=TIME,…",
        help="how long pods of at least each priority may take, the least important first; not with --shutdown-grace-period",
    )


def shutdown_periods(arguments: argparse.Namespace) -> tuple[ShutdownPeriod, ...]:
    """What they say. Raises ValueError where they contradict one another."""
    total, critical = arguments.shutdown_grace_period, arguments.shutdown_grace_period_critical_pods
    given: tuple[ShutdownPeriod, ...] = arguments.shutdown_grace_period_by_pod_priority
    if given and (total or critical):
        raise ValueError("--shutdown-grace-period-by-pod-priority takes the place of --shutdown-grace-period: give one of them")
    if critical > total:
        raise ValueError("--shutdown-grace-period-critical-pods is a part of --shutdown-grace-period, and must not be longer")
    if given or not total:
        return given
    return ShutdownPeriod(0, total - critical), ShutdownPeriod(SYSTEM_CRITICAL, critical)


def by_priority(text: str) -> tuple[ShutdownPeriod, ...]:
    """``0=30s,2000000000=10s``."""
    found: dict[int, ShutdownPeriod] = {}
    for part in filter(None, text.split(",")):
        priority, _, time = part.partition("=")
        try:
            number, seconds = int(priority), duration(0.0, DAY_SECONDS)(time)
        except (ValueError, argparse.ArgumentTypeError):
            raise argparse.ArgumentTypeError(f"{part!r} is no priority with its time, like 100000=30s") from None
        if number in found:
            raise argparse.ArgumentTypeError(f"priority {number} is there twice")
        found[number] = ShutdownPeriod(number, seconds)
    if len(found) > MOST_PERIODS:
        raise argparse.ArgumentTypeError(f"there are more than {MOST_PERIODS} priorities")
    return tuple(found.values())
