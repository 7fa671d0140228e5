"""``knarr logs``."""

from __future__ import annotations

from pathlib import Path

import click

from services.command.group import Command
from services.command.options import data_dir
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
@click.argument("component", default="", metavar="[COMPONENT]")
@click.option("--follow", "-f", is_flag=True, help="go on with what is written from now on, until Ctrl-C")
@click.option("--tail", type=click.IntRange(0), metavar="NUMBER", help="the last lines alone (default: all)")
def logs(data_dir: Path, component: str, follow: bool, tail: int | None) -> int:
    """what the cluster has written, or one component: apiserver, cloud, controller, dns, etcd, gateway, kubelet, proxy, scheduler"""
    from services.command.logs import show
    from services.standalone.component_log import COMPONENTS

    if component and component not in COMPONENTS:
        raise click.BadParameter(f"{component!r} is no component (choose from {', '.join(COMPONENTS)})", param_hint="COMPONENT")
    show(ClusterSettings(data_dir=data_dir).files, component, tail, follow, lambda line: print(line, flush=follow))
    return 0
