"""The flags that say how a node runs its pods, whether its kubelet is a process of its own or part of a cluster's."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any, NoReturn

from services.kubelet.configuration import add_configuration_flag, with_configuration
from services.kubelet.cpu_flags import add_cpu_flags, cpu_settings
from services.kubelet.image_flags import add_image_flags, image_settings
from services.kubelet.log_flags import add_log_flags, log_settings
from services.kubelet.resource_flags import add_resource_flags, resource_settings


def add_node_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them; ``node_settings`` reads them."""
    parser.add_argument(
        "--pod-manifest-path",
        type=Path,
        metavar="PATH",
        help="a folder of files, or one file, each with a pod that this node runs by itself, whether or not the API server is there",
    )
    add_configuration_flag(parser)
    add_resource_flags(parser)
    add_cpu_flags(parser)
    add_image_flags(parser)
    add_log_flags(parser)


def node_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of KubeletSettings. Raises ValueError where flags contradict one another."""
    return {
        "manifest_path": arguments.pod_manifest_path,
        **resource_settings(arguments),
        **cpu_settings(arguments),
        **image_settings(arguments),
        **log_settings(arguments),
    }


def node_settings_of(text: str) -> dict[str, Any]:
    """The same of flags that are written one after the other, quoted as in a shell. Files are named by their whole paths: whoever reads
    this may stand elsewhere. Raises ValueError saying which flag is no good."""
    parser = _Told(add_help=False, allow_abbrev=False)
    add_node_flags(parser)
    arguments = parser.parse_args(with_configuration(parser, shlex.split(text)))
    for name, value in vars(arguments).items():
        if isinstance(value, Path) and not value.is_absolute():
            raise ValueError(f"--{name.replace('_', '-')}: {str(value)!r} is no whole path: begin it with /")
    return node_settings(arguments)


class _Told(argparse.ArgumentParser):
    """Its errors are for who asked, not for the terminal."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)
