"""``knarr whatif``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from services.command.group import Command, Commands
from services.command.options import data_dir, namespace_option, output_option
from services.standalone.settings import ClusterSettings


def _asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every question."""
    return data_dir(output_option(command))


@click.group("whatif", cls=Commands, short_help="what would become of pods if something were otherwise; nothing is changed")
def what_if() -> None:
    """what would become of pods if something were otherwise; exits with 1 when a pod would find no node

    Nothing is changed, neither in the cluster nor in what the scheduler believes.
    """


@what_if.command(cls=Command)
@click.argument("node", metavar="NODE")
@_asking
def drain(data_dir: Path, output: str, node: str) -> int:
    """the pods of a node were evicted, and it took no more"""
    return _ask(data_dir, output, {"drain_node": {"node": node}})


@what_if.command(cls=Command)
@click.argument("pod", metavar="POD")
@namespace_option
@_asking
def delete(data_dir: Path, output: str, pod: str, namespace: str) -> int:
    """a pod were deleted"""
    return _ask(data_dir, output, {"delete_pod": {"namespace": namespace, "pod": pod}})


@what_if.command("set-requests", cls=Command)
@click.argument("pod", metavar="POD")
@click.argument("requests", nargs=-1, required=True, metavar="RESOURCE=AMOUNT...")
@click.option("--container", "-c", default="", metavar="NAME", help="whose (may be left out where there is one)")
@namespace_option
@_asking
def set_requests(data_dir: Path, output: str, pod: str, requests: tuple[str, ...], container: str, namespace: str) -> int:
    """a pod were made anew with other requests, like cpu=500m memory=1Gi"""
    if wrong := next((one for one in requests if "=" not in one), ""):
        raise click.BadParameter(f"{wrong!r} is not RESOURCE=AMOUNT, like cpu=500m", param_hint="RESOURCE=AMOUNT")
    amounts = dict(one.split("=", 1) for one in requests)
    return _ask(data_dir, output, {"set_requests": {"namespace": namespace, "pod": pod, "container": container, "requests": amounts}})


@what_if.command("add-node", cls=Command)
@click.option("--like", required=True, metavar="NODE", help="whose size, labels and taints it has")
@click.option("--count", type=click.IntRange(1), default=1, metavar="NUMBER", help="how many (default: 1)")
@_asking
def add_node(data_dir: Path, output: str, like: str, count: int) -> int:
    """there were more nodes"""
    return _ask(data_dir, output, {"add_node": {"like": like, "count": count}})


def _ask(data_dir: Path, output: str, change: dict[str, Any]) -> int:
    from services.command.what_if import ask

    return ask(ClusterSettings(data_dir=data_dir).files, change, as_json=output == "json")
