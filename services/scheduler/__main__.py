"""``python -m services.scheduler``: the scheduler as a process of its own."""

from __future__ import annotations

from knarr.service.command import client_parser, run_component
from knarr.service.election import add_leader_election, election
from services.scheduler.component import LEASE, Scheduler
from services.scheduler.settings import SchedulerSettings


def main() -> int:
    parser = client_parser("scheduler", "Pick a node for each pod.", port=10259)
    add_leader_election(parser, LEASE)
    arguments = parser.parse_args()
    settings = SchedulerSettings(election=election(parser, arguments))
    return run_component(arguments, lambda client: Scheduler(client, settings))


if __name__ == "__main__":
    raise SystemExit(main())
