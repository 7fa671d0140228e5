"""``knarr export``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from services.command.group import Command
from services.command.options import data_dir, output_option
from services.command.output import answering, deliver
from services.command.working import Working
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@output_option
def export(data_dir: Path, file: Path | None, output: str) -> int:
    """write what helps to find a fault into an archive: logs, objects, the machine; secrets are left out

    FILE must not exist (default: knarr-export-TIME.tar.gz). Secrets, ConfigMaps, containers' logs, variables and arguments are not in it;
    keys, tokens and what Secrets hold are taken out wherever they stand.
    """
    from services.command.export import export as write

    path = file or Path(f"knarr-export-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz")
    with answering(output) as facts:
        with Working("looking"):
            settings, _ = ClusterSettings.salvaged(data_dir)
            write(settings, path)
        facts["file"] = str(path)
        deliver(str(path))
    return 0
