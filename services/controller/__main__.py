"""``python -m services.controller``: the controller manager as a process of its own."""

from __future__ import annotations

from knarr.service.command import client_parser, run_component
from knarr.service.options import add_leader_election, identity, lease_settings
from services.controller.service import LEASE, ControllerManager
from services.controller.settings import ControllerSettings


def main() -> int:
    parser = client_parser("controller", "Keep the cluster as its objects want it.", port=10257)
    add_leader_election(parser, LEASE)
    arguments = parser.parse_args()
    settings = ControllerSettings(leader_election=arguments.leader_elect, identity=identity(), lease=lease_settings(parser, arguments))
    return run_component(arguments, lambda client: ControllerManager(client, settings))


if __name__ == "__main__":
    raise SystemExit(main())
