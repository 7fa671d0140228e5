"""``knarr why``."""

from __future__ import annotations

from pathlib import Path

import click

from services.command.group import Command
from services.command.options import data_dir
from services.standalone.settings import ClusterSettings


@click.command("why", cls=Command)
@data_dir
@click.argument("kind", type=click.Choice(["pod"]), metavar="pod")
@click.argument("name", metavar="NAME")
@click.option("--namespace", "-n", default="default", metavar="NAME", help="where (default: default)")
@click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", help="(default: text)")
def why_pod(data_dir: Path, kind: str, name: str, namespace: str, output: str) -> int:
    """what the scheduler says of each node for a pod; exits with 1 when none will do"""
    from services.command.placement import why as ask

    return ask(ClusterSettings(data_dir=data_dir).files, namespace, name, as_json=output == "json")
