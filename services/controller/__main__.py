"""``python -m services.controller``: the controller manager as a process of its own."""

from __future__ import annotations

from functools import partial

from knarr.service.command import client_parser, read_ca, run_component
from knarr.service.election import election
from services.controller.component import ControllerManager
from services.controller.flags import add_flags, check, settings_of


def main() -> int:
    parser = client_parser("controller", "Keep the cluster as its objects want it.", port=10257)
    add_flags(parser)
    arguments = parser.parse_args()
    check(parser, arguments)
    settings = partial(settings_of, arguments, election(parser, arguments))
    return run_component(arguments, lambda client: ControllerManager(client, settings(read_ca(arguments.ca).decode())))


if __name__ == "__main__":
    raise SystemExit(main())
