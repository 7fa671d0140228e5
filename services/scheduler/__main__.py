"""``python -m services.scheduler``: the scheduler as a process of its own."""

from __future__ import annotations

import socket

from knarr.service.command import client_parser, run_component
from services.scheduler.service import Scheduler
from services.scheduler.settings import SchedulerSettings


def main() -> int:
    parser = client_parser("scheduler", "Pick a node for each pod.", port=10259)
    parser.add_argument("--leader-elect", action="store_true", help="act only while holding the scheduler's lease")
    arguments = parser.parse_args()
    settings = SchedulerSettings(leader_election=arguments.leader_elect, identity=socket.gethostname())
    return run_component(arguments, lambda client: Scheduler(client, settings))


if __name__ == "__main__":
    raise SystemExit(main())
