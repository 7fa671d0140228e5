"""``knarr backup`` and ``knarr restore``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from services.command.group import Command
from services.command.options import data_dir, output_option
from services.command.output import answering
from services.command.working import Working
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@output_option
def backup(data_dir: Path, file: Path, output: str) -> int:
    """write the running cluster's state into a file

    FILE, a snapshot of etcd, must not exist.
    """
    from services.standalone.backup.backup import backup as back_up

    with answering(output) as facts, Working("reading", "MB", 1e6) as progress:
        facts |= back_up(ClusterSettings(data_dir=data_dir).files, file, progress)
    return 0


@click.command(cls=Command)
@partial(data_dir, may_be_new=True)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--replace", is_flag=True, help="move the state that is there aside")
@output_option
def restore(data_dir: Path, file: Path, replace: bool, output: str) -> int:
    """make a file of `knarr backup` the state of the stopped cluster

    FILE is a snapshot of etcd.
    """
    from services.standalone.backup.backup import restore as bring_back

    with answering(output) as facts, Working("restoring", "revisions") as progress:
        facts |= bring_back(ClusterSettings(data_dir=data_dir).files, file, replace=replace, progress=progress)
    return 0
