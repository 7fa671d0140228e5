"""``knarr version``."""

from __future__ import annotations

import json
import platform
import sys

import click

from services.command.group import Command
from services.command.options import output_option
from services.command.output import deliver


def versions() -> dict[str, str]:
    """What this is, and what it runs on."""
    from knarr.machinery.version import BUILD, GIT_VERSION
    from knarr.service.architecture import own_architecture

    return {
        "knarr": BUILD.removeprefix("knarr."),
        "kubernetes": GIT_VERSION.partition("+")[0],
        "python": platform.python_version(),
        "platform": f"{sys.platform}/{own_architecture()}",
    }


def tell_versions(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    """What `knarr --version` does."""
    if asked and not context.resilient_parsing:
        deliver(_line(versions()))
        context.exit()


def _line(found: dict[str, str]) -> str:
    return f"knarr {found['knarr']} (Kubernetes {found['kubernetes']}, Python {found['python']}, {found['platform']})"


@click.command(cls=Command)
@output_option
def version(output: str) -> int:
    """which version this is, and of which Kubernetes it speaks the API"""
    found = versions()
    deliver(json.dumps(found, indent=2) if output == "json" else _line(found))
    return 0
