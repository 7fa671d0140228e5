"""The command line's flags about images, named as kubelet's and as the fields of its configuration, and the settings they make."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from knarr.service.configuration_file import read_configuration
from knarr.service.errors import CommandError
from knarr.service.options import add_boolean, number
from services.kubelet.credential_config import KIND, parse_config
from services.kubelet.image_verification import NEVER_ALLOWLISTED, NEVER_PRELOADED, POLICIES, image_verification

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
    add_boolean(group, "--serialize-image-pulls", "pull one image after the other (default: at the same time)")
    group.add_argument(
        "--max-parallel-image-pulls",
        type=number(1, MOST_PULLS),
        default=0,
        metavar="N",
        help="how many images are pulled at the same time (default: as many as are asked for)",
    )
    group.add_argument(
        "--image-pull-credentials-verification-policy",
        choices=POLICIES,
        default=NEVER_PRELOADED,
        help="of which images that lie on the node pods must show that they may pull them (default: %(default)s, those that the node "
        "has pulled)",
    )
    group.add_argument(
        "--preloaded-images-verification-allowlist",
        type=lambda text: tuple(filter(None, text.split(","))),
        default=(),
        metavar="IMAGES",
        help=f"repositories that {NEVER_ALLOWLISTED} spares, separated by commas, without tags; /* at the end stands for all below",
    )


def image_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of KubeletSettings. Raises ValueError where flags contradict one another, or a file is not what it should be."""
    config, folder = arguments.image_credential_provider_config, arguments.image_credential_provider_bin_dir
    if (config is None) != (folder is None):
        raise ValueError("--image-credential-provider-config and --image-credential-provider-bin-dir need one another")
    if arguments.serialize_image_pulls and arguments.max_parallel_image_pulls > 1:
        raise ValueError("--max-parallel-image-pulls is for pulls at the same time: leave out --serialize-image-pulls")
    at_once = 1 if arguments.serialize_image_pulls else arguments.max_parallel_image_pulls
    try:
        verification = image_verification(
            arguments.image_pull_credentials_verification_policy, arguments.preloaded_images_verification_allowlist
        )
    except ValueError as error:
        raise ValueError(f"--preloaded-images-verification-allowlist: {error}") from error
    settings = {"max_parallel_pulls": at_once, "image_verification": verification}
    if config is None:
        return settings
    try:
        providers = read_configuration(config, KIND, parse_config)
    except CommandError as error:
        raise ValueError(f"--image-credential-provider-config: {error}") from error
    return {**settings, "credential_providers": providers, "credential_provider_folder": folder.absolute()}
