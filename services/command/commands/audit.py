"""``knarr audit``."""

from __future__ import annotations

from pathlib import Path

import click

from knarr.service.errors import CommandError
from services.command.group import Command
from services.command.options import data_dir, kubeconfig_option
from services.command.output import deliver
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
@kubeconfig_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="how it is told (default: text)")
def audit(data_dir: Path, kubeconfig: Path | None, output: str) -> int:
    """look whether the cluster is as safe as it can be; exits with 1 when something is not

    Each finding says why it matters and how it is mended.
    """
    from services.command.api import ApiClient
    from services.command.audit import audit as look
    from services.command.findings import as_json, as_text, has_failed

    files = ClusterSettings(data_dir=data_dir).files
    path = kubeconfig or files.kubeconfig
    if not path.exists():
        raise CommandError(f"there is no {path}; start the cluster first (`knarr up`), or name another --kubeconfig")
    with ApiClient(path) as api:
        results = look(api, files.root if kubeconfig is None else None)
    deliver(as_json(results, with_cis=True).decode() if output == "json" else as_text(results))
    return 1 if has_failed(results) else 0
