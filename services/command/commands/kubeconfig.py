"""``knarr kubeconfig``."""

from __future__ import annotations

from pathlib import Path

import click

from knarr.service.errors import CommandError
from services.command.group import Command
from services.command.options import data_dir
from services.command.output import deliver
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
@click.option("--path", "only_path", is_flag=True, help="print only where the file lies")
def kubeconfig(data_dir: Path, only_path: bool) -> int:
    """print the kubeconfig, or its path"""
    path = ClusterSettings(data_dir=data_dir).files.kubeconfig
    if not path.exists():
        raise CommandError(f"there is no {path}; start the cluster first: `knarr up`")
    deliver(str(path) if only_path else path.read_text())
    return 0
