"""``knarr down``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from knarr.service.errors import CommandError
from services.command.group import Command
from services.command.named import place
from services.command.options import data_dir
from services.command.working import Working
from services.standalone.settings import ClusterSettings

# How long it waits for a command that is still at work, after the cluster's process has ended.
WAIT_SECONDS = 5.0


@click.command(cls=Command)
@data_dir
def down(data_dir: Path) -> int:
    """stop the cluster and remove its containers, networks and rules; its state is kept"""
    take_down(data_dir)
    return 0


def take_down(data_dir: Path) -> None:
    """Stops a cluster and removes what it made outside its folder, a printed line each. Raises CommandError."""
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
            return
        with held(files.root, wait_seconds=WAIT_SECONDS, meanwhile=stop_what_comes):
            process.forget(files)
            print("the cluster's process has stopped" if stopped else "no cluster process was running")
            remove(settings)
    if complaint:
        print(f"warning: {complaint}; what was removed is what the default makes", file=sys.stderr)


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
