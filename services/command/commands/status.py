"""``knarr status``."""

from __future__ import annotations

from pathlib import Path

import click

from services.command.group import Command
from services.command.options import data_dir
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
def status(data_dir: Path) -> int:
    """what runs, and how it is; exits with 1 when something does not serve"""
    from services.command.status import report

    return report(ClusterSettings(data_dir=data_dir))
