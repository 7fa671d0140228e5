"""``knarr boot``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from services.command.group import Commands
from services.command.options import data_dir, output_option
from services.command.output import answering, deliver
from services.standalone.settings import ClusterSettings
from services.standalone.signals import undisturbed


@click.group("boot", cls=Commands, short_help="have a cluster start with the machine, by systemd, or no longer")
def boot_group() -> None:
    """A cluster that starts with the machine."""


@boot_group.command("enable")
@data_dir
@click.option("--print", "only_print", is_flag=True, help="print the unit, and do nothing")
@output_option
def enable_boot(data_dir: Path, only_print: bool, output: str) -> int:
    """start the cluster with the machine: by a unit of the system as root, else by one of your own

    It starts with the options that it has now.
    """
    from services.command.boot import boot_of, enable, status
    from services.command.boot_unit import unit_text

    settings = ClusterSettings.saved(data_dir)
    with answering(output) as facts, undisturbed():
        if only_print:
            facts["text"] = text = unit_text(boot_of(settings))
            deliver(text.rstrip("\n"))
        else:
            deliver("\n".join(enable(settings)))
            facts |= status(settings).as_dict()
    return 0


@boot_group.command("disable")
@data_dir
@output_option
def disable_boot(data_dir: Path, output: str) -> int:
    """start it no longer by itself; one that runs goes on"""
    from services.command.boot import disable, status

    with answering(output) as facts, undisturbed():
        settings = ClusterSettings.salvaged(data_dir)[0]
        gone = disable(settings)
        facts |= status(settings).as_dict()
        deliver("the cluster no longer starts with the machine" if gone else "it does not start with the machine anyway")
    return 0


@boot_group.command("status")
@data_dir
@output_option
def boot_status(data_dir: Path, output: str) -> int:
    """whether it starts with the machine; exits with 1 where it does not"""
    from services.command.boot import status

    found = status(ClusterSettings.salvaged(data_dir)[0])
    words = f"{found.path} starts it" if found.enabled else "it does not start with the machine; `knarr boot enable` has it do so"
    deliver(json.dumps(found.as_dict(), indent=2) if output == "json" else words)
    return 0 if found.enabled else 1
