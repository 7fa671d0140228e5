"""``knarr why``."""

from __future__ import annotations

from pathlib import Path

import click

from services.command.group import Command
from services.command.options import data_dir, namespace_option, output_option
from services.standalone.settings import ClusterSettings


@click.command("why", cls=Command)
@data_dir
@click.argument("kind", type=click.Choice(["pod"]), metavar="pod")
@click.argument("name", metavar="NAME")
@namespace_option
@output_option
def why_pod(data_dir: Path, kind: str, name: str, namespace: str, output: str) -> int:
    """what the scheduler says of each node for a pod; exits with 1 when none will do"""
    from services.command.placement import why as ask

    return ask(ClusterSettings(data_dir=data_dir).files, namespace, name, as_json=output == "json")
