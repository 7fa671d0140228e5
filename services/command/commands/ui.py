"""``knarr ui``."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

from services.command.group import Command
from services.command.options import data_dir, kubeconfig_option
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
@kubeconfig_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="on loopback (default: one that is free)")
@click.option("--no-browser", is_flag=True, help="only print the link")
def ui(data_dir: Path, kubeconfig: Path | None, port: int, no_browser: bool) -> NoReturn:
    """serve a page that shows the cluster live, and why things are as they are, until Ctrl-C"""
    from services.command.ui import show

    show(ClusterSettings(data_dir=data_dir).files, kubeconfig, port, browser=not no_browser)
