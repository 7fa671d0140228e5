"""``knarr down``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from knarr.service.errors import CommandError
from services.command.group import Command
from services.command.named import place
from services.command.options import data_dir, is_cluster_chosen, output_option
from services.command.output import answering
from services.command.working import Working
from services.standalone.settings import ClusterSettings

# How long it waits for a command that is still at work, after the cluster's process has ended.
WAIT_SECONDS = 5.0


@click.command(cls=Command)
@data_dir
@click.option("--leftovers", is_flag=True, help="remove instead what any cluster has left on the machine that does not run; as root")
@output_option
def down(data_dir: Path, leftovers: bool, output: str) -> int:
    """stop the cluster and remove its containers, networks and rules; its state is kept

    With --leftovers no cluster is stopped: what those have left that were killed, or whose folder is gone, is taken away (`knarr doctor`
    names it), whatever they were called and whoever ran them. Those that run lose nothing; where a folder is there, its state is kept.
    """
    with answering(output) as facts:
        facts |= {"removed": take_leftovers_away()} if leftovers else {"stopped": take_down(data_dir), "folder": str(data_dir.absolute())}
    return 0


def take_leftovers_away() -> list[dict[str, str]]:
    """Removes what is left of clusters that do not run, a printed line for each; answers what it was. Raises CommandError."""
    if is_cluster_chosen(click.get_current_context()):
        raise click.UsageError("--leftovers is about all clusters that do not run; leave --name and --data-dir out")
    if os.geteuid() != 0:
        raise CommandError("only root sees which clusters live, and may remove what others left; run `sudo knarr down --leftovers`")
    from services.standalone.leftovers.removal import counted, remove_leftovers

    removed: list[dict[str, str]] = []
    with Working("taking away what clusters have left"):
        for traces in remove_leftovers():
            print(f"{traces[0].owner}: removed {counted(traces)}")
            removed += [{"cluster": trace.owner, "kind": trace.kind, "name": trace.name} for trace in traces]
    if not removed:
        print("nothing is left of clusters that do not run")
    return removed


def take_down(data_dir: Path) -> bool:
    """Stops a cluster and removes what it made outside its folder, a printed line each; whether it ran. Raises CommandError."""
    from services.standalone import process
    from services.standalone.lock import held

    settings, complaint = ClusterSettings.salvaged(data_dir)
    files = settings.files
    with Working("stopping the cluster"):
        _let_go_on(settings)
        stopped = process.stop(files)
        # One that you may not stop keeps its context.
        _leave_contexts(place.name_of(data_dir))

        def stop_what_comes() -> None:
            """A start that is under way may bring one yet."""
            nonlocal stopped
            stopped = process.stop(files) or stopped

        if not files.root.exists():
            print("no cluster process was running")
            return False
        with held(files.root, wait_seconds=WAIT_SECONDS, meanwhile=stop_what_comes):
            process.forget(files)
            print("the cluster's process has stopped" if stopped else "no cluster process was running")
            remove(settings)
    if complaint:
        print(f"warning: {complaint}; what was removed is what the default makes", file=sys.stderr)
    return stopped


def _leave_contexts(name: str) -> None:
    """A kubeconfig that is no good keeps no cluster from being stopped."""
    if not name:
        return
    from services.command.named import contexts

    try:
        for path in contexts.remove(name):
            print(f"removed the context {contexts.context_of(name)} from {path}")
    except (CommandError, OSError) as error:
        print(f"warning: {error}", file=sys.stderr)


def _let_go_on(settings: ClusterSettings) -> None:
    """What is frozen does not stop."""
    from services.standalone import process

    if running := process.find(settings.files):
        from services.command.named import freezing

        if freezing.is_frozen(running.pid):
            try:
                freezing.resume(settings)
            except CommandError as error:
                print(f"warning: {error}", file=sys.stderr)


def remove(settings: ClusterSettings) -> None:
    """Removes what a cluster of these settings leaves on the machine, a printed line each."""
    from services.standalone.cleanup import remove_everything

    for line in remove_everything(settings):
        print(f"  {line}")
