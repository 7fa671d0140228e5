"""``knarr certs``."""

from __future__ import annotations

from pathlib import Path

import click

from services.command.group import Commands
from services.command.options import data_dir
from services.standalone.settings import ClusterSettings


@click.group(cls=Commands, short_help="the cluster's certificates: list them, make them anew")
def certs() -> None:
    """The cluster's certificates."""


def _folder(data_dir: Path, folder: Path | None) -> Path:
    return folder if folder is not None else ClusterSettings(data_dir=data_dir).files.pki


_FOLDER = click.option(
    "--folder", type=click.Path(path_type=Path), metavar="DIR", help="another folder with certificates (default: pki of --data-dir)"
)


_OUTPUT = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="the form (default: table)")


@certs.command("list")
@data_dir
@_FOLDER
@_OUTPUT
def list_certificates(data_dir: Path, folder: Path | None, output: str) -> int:
    """each certificate: whom it is for, by which authority, until when; exits with 1 when one of them is not good"""
    from services.command.certs import show

    return show(_folder(data_dir, folder), output)


@certs.command("renew")
@data_dir
@_FOLDER
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_OUTPUT
def renew_certificates(data_dir: Path, folder: Path | None, names: tuple[str, ...], output: str) -> int:
    """make certificates anew, at once; servers that run show them to the next connection

    NAME is one of `knarr certs list`; all unless one is given. The kubeconfig of the data directory gets its new one.
    """
    from services.command.certs import renewed

    kubeconfig = ClusterSettings(data_dir=data_dir).files.kubeconfig if folder is None else None
    return renewed(_folder(data_dir, folder), list(names), kubeconfig, output)
