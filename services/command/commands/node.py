"""``knarr node``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from knarr.objects.hollow import MOST_NODES
from services.command.group import Commands
from services.command.options import data_dir, output_option
from services.command.output import deliver
from services.command.working import Working
from services.standalone.settings import ClusterSettings


@click.group("node", cls=Commands, short_help="the cluster's nodes: list them, add some, remove some")
def node_group() -> None:
    """The nodes of a cluster on one machine."""


@node_group.command("list")
@data_dir
@output_option
def list_nodes(data_dir: Path, output: str) -> int:
    """each node: whether it is ready, what it is, how many pods it has"""
    from services.command.nodes import as_dicts, as_rows, listed
    from services.command.table import aligned

    found = listed(ClusterSettings.saved(data_dir))
    deliver(json.dumps(as_dicts(found), indent=2) if output == "json" else "\n".join(aligned(as_rows(found))))
    return 0


@node_group.command("add")
@data_dir
@click.argument("amount", type=click.IntRange(1, MOST_NODES - 1), default=1, metavar="[NUMBER]")
@output_option
def add_nodes(data_dir: Path, amount: int, output: str) -> int:
    """add so many nodes (default: 1), and wait until they are ready; Ctrl-C takes them away again"""
    from services.command.nodes import add

    with Working("adding nodes", "nodes") as working:
        names = add(ClusterSettings.saved(data_dir), amount, working)
    deliver(json.dumps({"added": names}, indent=2) if output == "json" else "\n".join(f"{name} is ready" for name in names))
    return 0


@node_group.command("remove")
@data_dir
@click.argument("names", nargs=-1, required=True, metavar="NODE...")
@click.option("--force", is_flag=True, help="do not wait for pods: they end with the node")
@click.option("--timeout", type=click.IntRange(1), default=300, metavar="SECONDS", help="how long pods may take to go (default: 300)")
@output_option
def remove_nodes(data_dir: Path, names: tuple[str, ...], force: bool, timeout: int, output: str) -> int:
    """have the pods of nodes go, as `kubectl drain` does, and remove the nodes; Ctrl-C leaves the nodes as they were"""
    from services.command.nodes import remove

    with Working("waiting for pods to go", "pods") as working:
        gone = remove(ClusterSettings.saved(data_dir), names, force=force, timeout_seconds=timeout, tell=working)
    deliver(json.dumps({"removed": gone}, indent=2) if output == "json" else "\n".join(f"{name} is gone" for name in gone))
    return 0


@node_group.command("stop")
@data_dir
@click.argument("names", nargs=-1, required=True, metavar="NODE...")
@output_option
def stop_nodes(data_dir: Path, names: tuple[str, ...], output: str) -> int:
    """switch nodes off, as if their machines lost power: see them become NotReady, and their pods come elsewhere"""
    return _switch(data_dir, names, output, on=False)


@node_group.command("start")
@data_dir
@click.argument("names", nargs=-1, required=True, metavar="NODE...")
@output_option
def start_nodes(data_dir: Path, names: tuple[str, ...], output: str) -> int:
    """switch them on again, and wait until they are ready"""
    return _switch(data_dir, names, output, on=True)


def _switch(data_dir: Path, names: tuple[str, ...], output: str, *, on: bool) -> int:
    from services.command.nodes import switch

    with Working("waiting for nodes" if on else "switching nodes off", "nodes") as working:
        found = switch(ClusterSettings.saved(data_dir), names, on=on, tell=working)
    key, words = ("started", "is ready") if on else ("stopped", "is switched off")
    deliver(json.dumps({key: found}, indent=2) if output == "json" else "\n".join(f"{name} {words}" for name in found))
    return 0
