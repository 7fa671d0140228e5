"""The command line's flags about containers' logs, named as kubelet's, and the settings they make."""

from __future__ import annotations

import argparse
from typing import Any

from knarr.machinery import quantity
from knarr.service.options import number

# With fewer, what was written last would be gone with each rotation.
LEAST_FILES, MOST_FILES = 2, 1000


def add_log_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them; ``log_settings`` reads them."""
    group = parser.add_argument_group("logs of containers", "named as kubelet's, with its defaults")
    group.add_argument(
        "--container-log-max-size",
        type=_size,
        default="10Mi",
        metavar="AMOUNT",
        help="how large a file of a container's log grows before the next one is begun, like 10Mi (default: %(default)s)",
    )
    group.add_argument(
        "--container-log-max-files",
        type=number(LEAST_FILES, MOST_FILES),
        default=5,
        metavar="N",
        help="how many files of a container's log are kept, the one that is written to among them (default: %(default)s)",
    )


def log_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of KubeletSettings."""
    return {"container_log_max_bytes": arguments.container_log_max_size, "container_log_max_files": arguments.container_log_max_files}


def _size(text: str) -> int:
    try:
        size = quantity.value(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of bytes, like 10Mi") from None
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} leaves no room: a log needs at least a byte; give a large amount to have few rotations")
    return size
