"""``knarr load``."""

from __future__ import annotations

from pathlib import Path

import click

from knarr.service.errors import CommandError
from services.command.group import Command
from services.command.options import data_dir, output_option
from services.command.output import answering
from services.command.working import Working
from services.standalone.settings import ClusterSettings


@click.command(cls=Command)
@data_dir
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option(
    "--archive", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="images of a file that `docker save` has written"
)
@click.option("--project", default="knarr", metavar="NAME", help="the compose project (default: knarr)")
@output_option
def load(data_dir: Path, images: tuple[str, ...], archive: Path | None, project: str, output: str) -> int:
    """copy images of this machine's engine to where pods run: the nodes of the compose cluster, or the containerd of `knarr up`

    IMAGE is a name as `docker images` writes it. A cluster of `knarr up` on Docker needs none: its pods run this machine's images.
    """
    from services.standalone import process

    if bool(images) == (archive is not None):
        raise click.UsageError("name images of this machine's engine, or one file of them by --archive")
    settings, _ = ClusterSettings.salvaged(data_dir)
    runs = process.find(settings.files) is not None
    with answering(output) as facts:
        if archive is not None:
            facts["loaded"] = _load_archive(settings, archive, runs)
        elif runs and settings.runtime == "containerd":
            facts["loaded"] = _load_into_containerd(settings, images)
        else:
            facts["loaded"] = _load_into_nodes(settings, list(images), project, runs)
    return 0


def _load_into_containerd(settings: ClusterSettings, images: tuple[str, ...]) -> list[str]:
    from services.command.images import copy_to_containerd

    with Working("copying", "MB", 1e6) as progress:
        names = list(copy_to_containerd(settings, images, progress))
    print(f"containerd has {', '.join(names)}")
    return names


def _load_archive(settings: ClusterSettings, archive: Path, runs: bool) -> list[str]:
    from services.command.images import images_of

    if not runs:
        raise CommandError(f"no cluster runs from {settings.files.root}; start it first: `knarr up`")
    if not archive.is_file():
        raise CommandError(f"--archive {archive}: there is no such file; `docker save -o {archive} IMAGE` writes one")
    with Working("loading", "MB", 1e6) as progress, images_of(settings) as images:
        try:
            names = images.load(archive, progress)
        except CommandError as error:
            raise CommandError(f"--archive {archive}: {error}") from error
    print(f"{settings.runtime} has {', '.join(names) or 'the images of the archive'}")
    return list(names)


def _load_into_nodes(settings: ClusterSettings, images: list[str], project: str, runs: bool) -> list[str]:
    from services.compose.load import NoNodes
    from services.compose.load import load as load_images

    try:
        with Working("copying", "MB", 1e6) as progress:
            load_images(images, project, progress)
    except NoNodes:
        if not runs:
            raise
        simulated = settings.runtime == "hollow"
        how = "simulates containers, which need no images" if simulated else "runs this machine's images as they are"
        print(f"nothing to load: the cluster in {settings.files.root} {how}")
        return []
    return images
