"""``knarr load``."""

from __future__ import annotations

from pathlib import Path

import click

from services.command.group import Command
from services.command.options import data_dir
from services.command.working import Working
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--project", default="knarr", metavar="NAME", help="the compose project (default: knarr)")
def load(data_dir: Path, images: tuple[str, ...], project: str) -> int:
    """copy images of this machine's engine into the nodes of the compose cluster

    IMAGE is a name as `docker images` writes it. The cluster of `knarr up` needs none: its pods run this machine's images as they are.
    """
    from services.compose.load import NoNodes
    from services.compose.load import load as load_images
    from services.standalone import process

    try:
        with Working("copying", "MB", 1e6) as progress:
            load_images(list(images), project, progress)
    except NoNodes:
        files = ClusterSettings(data_dir=data_dir).files
        if process.find(files) is None:
            raise
        print(f"nothing to load: the cluster in {files.root} runs this machine's images as they are")
    return 0
