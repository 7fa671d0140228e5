"""``python -m services.scheduler``: the scheduler as a process of its own."""

from __future__ import annotations

from knarr.service.command import client_parser, run_component
from knarr.service.election import add_leader_election, election
from knarr.service.errors import CommandError
from knarr.service.options import readable_file
from services.scheduler.component import LEASE, Scheduler
from services.scheduler.configuration.configuration import Configuration
from services.scheduler.configuration.reading import elect_by, read_scheduler_configuration, settings_of


def main() -> int:
    parser = client_parser("scheduler", "Pick a node for each pod.", port=10259)
    parser.add_argument(
        "--config",
        type=readable_file,
        metavar="FILE",
        help="a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1: profiles, plugins and their arguments, extenders",
    )
    add_leader_election(parser, LEASE)
    arguments = parser.parse_args()
    configuration = Configuration()
    if arguments.config is not None:
        try:
            configuration = read_scheduler_configuration(arguments.config)
        except CommandError as error:
            parser.error(f"--config: {error}")
        elect_by(configuration, parser)
        arguments = parser.parse_args()
    elected = election(parser, arguments)
    return run_component(arguments, lambda client: Scheduler(client, settings_of(configuration, elected)))


if __name__ == "__main__":
    raise SystemExit(main())
