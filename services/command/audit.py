"""``knarr audit``: looks whether a cluster is as safe as it can be, and says of what is not how it is mended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from knarr.service.errors import CommandError
from services.command.api import ApiClient, Refused
from services.command.checks import connections, control_plane, files, pods, roles
from services.command.checks.check import Check, Result, run
from services.command.checks.facts import Facts

CHECKS: tuple[Check[Facts], ...] = (*control_plane.CHECKS, *connections.CHECKS, *files.CHECKS, *roles.CHECKS, *pods.CHECKS)


def audit(api: ApiClient, folder: Path | None, checks: Sequence[Check[Facts]] = CHECKS) -> list[Result]:
    """Raises CommandError where the cluster does not say what is to be known."""
    facts = Facts(api, folder)
    try:
        return [run(check, facts) for check in checks]
    except Refused as refused:
        raise CommandError(f"the cluster does not show what is to be looked at: {refused}; ask as its administrator") from refused
