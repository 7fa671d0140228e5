"""``knarr doctor``."""

from __future__ import annotations

from pathlib import Path

import click

from services.command.group import Command
from services.command.options import data_dir, output_option
from services.command.output import deliver
from services.command.working import Working


@click.command(cls=Command)
@data_dir
@output_option
def doctor(data_dir: Path, output: str) -> int:
    """what is wrong with this machine, and how it is mended; exits with 1 when a cluster cannot run

    It looks, and changes nothing. Each finding says why it matters.
    """
    from services.command.doctor import examine
    from services.command.findings import as_json, as_text, has_failed

    with Working("looking"):
        results = examine(data_dir)
    deliver(as_json(results).decode() if output == "json" else as_text(results))
    return 1 if has_failed(results) else 0
