"""``knarr secrets``."""

from __future__ import annotations

from pathlib import Path

import click

from knarr.service.errors import CommandError
from services.command.group import Commands
from services.command.options import data_dir, kubeconfig_option, output_option
from services.command.output import answering
from services.command.working import Working
from services.standalone.settings import ClusterSettings


@click.group(cls=Commands)
def secrets() -> None:
    """what lies encrypted in the store"""


@secrets.command()
@data_dir
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="the EncryptionConfiguration (default: that of `knarr up`)")
@kubeconfig_option
@click.option("--server", multiple=True, metavar="URL", help="an API server, where there are several; repeat for each")
@output_option
def rotate(data_dir: Path, config: Path | None, kubeconfig: Path | None, server: tuple[str, ...], output: str) -> int:
    """replace the key that Secrets are encrypted with, while the cluster runs

    A command that was cut short goes on when it is given again.
    """
    from services.command.secrets import rotate_of

    settings = ClusterSettings.saved(data_dir)
    file = config or settings.encryption_file
    if file is None:
        raise CommandError("nothing is encrypted: start the cluster with `knarr up --encryption-provider-config FILE` (docs/security.md)")
    with answering(output) as facts, Working("writing", "objects") as progress:
        rotate_of(file, kubeconfig or settings.files.kubeconfig, server, lambda line: print(line, flush=True), progress)
        facts["rotated"] = str(file)
    return 0
