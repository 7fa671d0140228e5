"""``python -m services.controller``: the controller manager as a process of its own."""

from __future__ import annotations

import socket

from knarr.service.command import client_parser, run_component
from services.controller.service import ControllerManager
from services.controller.settings import ControllerSettings


def main() -> int:
    parser = client_parser("controller", "Keep the cluster as its objects want it.", port=10257)
    parser.add_argument("--leader-elect", action="store_true", help="act only while holding the controllers' lease")
    arguments = parser.parse_args()
    settings = ControllerSettings(leader_election=arguments.leader_elect, identity=socket.gethostname())
    return run_component(arguments, lambda client: ControllerManager(client, settings))


if __name__ == "__main__":
    raise SystemExit(main())
