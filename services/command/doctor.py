"""``knarr doctor``: looks what is wrong with a machine on which a cluster is to run, and says how it is mended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.command.checks.check import Check, Result, run
from services.command.machine import kernel, leftovers, programs, room
from services.command.machine.facts import Machine
from services.standalone.settings import ClusterSettings

CHECKS: tuple[Check[Machine], ...] = (*programs.CHECKS, *kernel.CHECKS, *room.CHECKS, *leftovers.CHECKS)


def examine(data_dir: Path) -> list[Result]:
    """Looks with the eyes of the cluster of a data directory, or of a new one."""
    settings, complaint = ClusterSettings.salvaged(data_dir)
    machine = Machine(settings)
    return [run(check, machine) for check in (_settings_check(complaint), *CHECKS)]


def _settings_check(complaint: str) -> Check[Machine]:
    findings: Sequence[str] = [complaint] if complaint else []
    return Check(
        "settings",
        "what was chosen for the cluster before can be read",
        "A start would not know what it is to start.",
        "As it says.",
        lambda _: findings,
    )
