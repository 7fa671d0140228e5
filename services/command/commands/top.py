"""``knarr top``."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path

import click

from knarr.service.errors import CommandError
from services.command.group import Command
from services.command.options import data_dir, kubeconfig_option, namespace_option, output_option
from services.command.output import deliver
from services.command.working import Working
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
@click.argument("what", type=click.Choice(["nodes", "pods"]), default="nodes", metavar="[nodes|pods]")
@namespace_option
@click.option("--all-namespaces", "-A", is_flag=True, help="pods of all namespaces")
@kubeconfig_option
@output_option
def top(data_dir: Path, what: str, namespace: str, all_namespaces: bool, kubeconfig: Path | None, output: str) -> int:
    """what nodes or pods use now of processors and memory, the most hungry first"""
    from services.command.api import ApiClient, Refused
    from services.command.table import aligned
    from services.command.top import as_dicts, as_rows, nodes, pods

    path = kubeconfig or ClusterSettings(data_dir=data_dir).files.kubeconfig
    if not path.exists():
        raise CommandError(f"there is no {path}; start the cluster first (`knarr up`), or name another --kubeconfig")
    try:
        with Working("asking"), ApiClient(path) as api:
            found = nodes(api) if what == "nodes" else pods(api, "" if all_namespaces else namespace)
    except Refused as refused:
        # Who serves no such group answers a bare 404.
        off = refused.code == HTTPStatus.NOT_FOUND
        words = "it serves no metrics.k8s.io; `knarr addon enable metrics` has it do so" if off else str(refused)
        raise CommandError(f"the cluster does not tell what is used: {words}") from refused
    deliver(json.dumps(as_dicts(found), indent=2) if output == "json" else "\n".join(aligned(as_rows(found))))
    return 0
