"""The options of a component of which several may run, and one acts: leader election."""

from __future__ import annotations

import argparse
import socket
import uuid

from knarr.client.leader import Election, LeaseSettings
from knarr.service.options import seconds


def add_leader_election(parser: argparse.ArgumentParser, lease: str) -> None:
    """The options of a component of which several may run."""
    fresh = LeaseSettings()
    parser.add_argument("--leader-elect", action="store_true", help=f"act only while holding the lease kube-system/{lease}")
    for name, default, text in (
        ("lease-duration", fresh.duration_seconds, "how long others leave a silent leader its lease"),
        ("renew-deadline", fresh.renew_deadline_seconds, "how long a leader acts that cannot renew its lease"),
        ("retry-period", fresh.retry_seconds, "pause between attempts to take or renew the lease"),
    ):
        parser.add_argument(
            f"--leader-elect-{name}", type=seconds, default=default, metavar="SECONDS", help=f"{text} (default: %(default)s)"
        )


def election(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Election:
    """The election that was asked for; ends with the parser's error when its timing cannot be kept."""
    duration, deadline = arguments.leader_elect_lease_duration, arguments.leader_elect_renew_deadline
    retry = arguments.leader_elect_retry_period
    if not duration >= 1 or not duration > deadline > retry:
        parser.error("--leader-elect-lease-duration (1 s or more) must exceed -renew-deadline, and that must exceed -retry-period")
    timing = LeaseSettings(duration_seconds=duration, renew_deadline_seconds=deadline, retry_seconds=retry)
    # Several may run on one machine.
    return Election(f"{socket.gethostname()}_{uuid.uuid4().hex[:12]}", held=arguments.leader_elect, lease=timing)
