"""``knarr status``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from services.command.group import Command
from services.command.options import data_dir, output_option
from services.command.output import deliver
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
@output_option
def status(data_dir: Path, output: str) -> int:
    """what runs, and how it is; exits with 1 when something does not serve"""
    from services.command.status import lines_of, status_of

    found = status_of(ClusterSettings(data_dir=data_dir))
    deliver(json.dumps(found.as_dict(), indent=2) if output == "json" else "\n".join(lines_of(found)))
    return 0 if found.good else 1
