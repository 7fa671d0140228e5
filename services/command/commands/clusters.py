"""The commands about named clusters: ``knarr list``, ``delete``, ``switch``, ``pause`` and ``resume``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from knarr.service.errors import CommandError
from services.command.commands.down import take_down
from services.command.group import Command
from services.command.named import place
from services.command.options import cluster_name, data_dir, output_option
from services.command.output import answering, deliver
from services.standalone.hollow import HOLLOW
from services.standalone.settings import MEMORY, ClusterSettings
from services.standalone.signals import undisturbed


@click.command("list", cls=Command)
@output_option
def list_clusters(output: str) -> int:
    """the named clusters: what they are doing, where they answer, and which one kubectl asks"""
    from services.command.named.listing import as_dicts, as_rows
    from services.command.table import aligned

    if output == "json":
        deliver(json.dumps(as_dicts(), indent=2))
    elif len(rows := as_rows()) == 1:
        deliver("there are no named clusters; `knarr up --name NAME` makes one")
    else:
        deliver("\n".join(aligned(rows)))
    return 0


@click.command(cls=Command)
@data_dir
@cluster_name(required=True)
@output_option
def delete(data_dir: Path, output: str) -> int:
    """stop a named cluster and remove all of it, its state included"""
    from services.command import boot
    from services.command.named.making import discard

    with answering(output) as facts:
        facts["stopped"] = take_down(data_dir)
        with undisturbed():
            try:
                boot.disable(ClusterSettings.salvaged(data_dir)[0])
            except (CommandError, OSError) as error:
                # What it would start is not there any more, and it looks for that first.
                print(f"warning: {error}", file=sys.stderr)
            discard(data_dir)
        facts["removed"] = str(data_dir)
        print(f"removed {data_dir}")
    return 0


@click.command(cls=Command)
@data_dir
@cluster_name(required=True)
@output_option
def switch(data_dir: Path, output: str) -> int:
    """have kubectl ask another named cluster"""
    from services.command.named import contexts
    from services.standalone import process

    files, name = ClusterSettings(data_dir=data_dir).files, place.name_of(data_dir)
    if process.find(files) is None or not files.kubeconfig.exists():
        raise CommandError(f"the cluster {name} does not run; `knarr up --name {name}` starts it")
    with answering(output) as facts:
        path, context = contexts.add(name, files.kubeconfig), contexts.context_of(name)
        facts |= {"context": context, "kubeconfig": str(path)}
        print(f"the current context of {path} is {context}")
    return 0


@click.command(cls=Command)
@data_dir
@cluster_name()
@output_option
def pause(data_dir: Path, output: str) -> int:
    """freeze a cluster where it is: it takes no processor's time, keeps memory and ports, and answers nobody until `resume`"""
    from services.command.named import freezing

    settings = ClusterSettings.saved(data_dir)
    with answering(output) as facts, undisturbed():
        count = freezing.pause(settings)
        facts |= {"state": "paused", "containers": count}
        etcd = ["etcd"] if settings.store != MEMORY else []
        containers = [f"{count} containers"] if settings.runtime != HOLLOW else []
        print("frozen: " + ", ".join(["the cluster's process", *etcd, *containers]))
    return 0


@click.command(cls=Command)
@data_dir
@cluster_name()
@output_option
def resume(data_dir: Path, output: str) -> int:
    """let a paused cluster go on where it was"""
    from services.command.named import freezing

    with answering(output) as facts, undisturbed():
        if not freezing.resume(ClusterSettings.saved(data_dir)):
            raise CommandError(f"no cluster runs from {data_dir}; there is nothing to resume")
        facts["state"] = "running"
        print("the cluster goes on")
    return 0
