"""The command line's flags about images, named as kubelet's and as the fields of its configuration, and the settings they make."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from knarr.service.configuration_file import read_configuration
from knarr.service.errors import CommandError
from knarr.service.options import boolean, number
from services.kubelet.credential_config import KIND, parse_config

MOST_PULLS = 1000


def add_image_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them; ``image_settings`` reads them."""
    group = parser.add_argument_group("images", "named as kubelet's")
    group.add_argument(
        "--image-credential-provider-config",
        type=Path,
        metavar="FILE",
        help=f"a {KIND}: programs that know logins to registries",
    )
    group.add_argument("--image-credential-provider-bin-dir", type=Path, metavar="DIR", help="where those programs lie")
    group.add_argument(
        "--serialize-image-pulls",
        type=boolean,
        nargs="?",
        const=True,
        default=False,
        metavar="BOOL",
        help="pull one image after the other (default: at the same time)",
    )
    group.add_argument(
        "--max-parallel-image-pulls",
        type=number(1, MOST_PULLS),
        default=0,
        metavar="N",
        help="how many images are pulled at the same time (default: as many as are asked for)",
    )


def image_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of KubeletSettings. Raises ValueError where flags contradict one another, or a file is not what it should be."""
    config, folder = arguments.image_credential_provider_config, arguments.image_credential_provider_bin_dir
    if (config is None) != (folder is None):
        raise ValueError("--image-credential-provider-config and --image-credential-provider-bin-dir need one another")
    if arguments.serialize_image_pulls and arguments.max_parallel_image_pulls > 1:
        raise ValueError("--max-parallel-image-pulls is for pulls at the same time: leave out --serialize-image-pulls")
    at_once = 1 if arguments.serialize_image_pulls else arguments.max_parallel_image_pulls
    if config is None:
        return {"max_parallel_pulls": at_once}
    try:
        providers = read_configuration(config, KIND, parse_config)
    except CommandError as error:
        raise ValueError(f"--image-credential-provider-config: {error}") from error
    return {"max_parallel_pulls": at_once, "credential_providers": providers, "credential_provider_folder": folder.absolute()}
