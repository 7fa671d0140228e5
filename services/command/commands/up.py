"""``knarr up``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from knarr.service.errors import CommandError
from services.command.commands.down import remove
from services.command.group import Command
from services.command.named import place
from services.command.options import config_option, data_dir, settings_options
from services.command.working import Working
from services.standalone.files import Files
from services.standalone.options import options_of, settings_from
from services.standalone.settings import ClusterSettings
from services.standalone.signals import interruptible, undisturbed


@click.command(cls=Command)
@partial(data_dir, may_be_new=True)
@config_option
@settings_options
@click.option("--foreground", is_flag=True, help="stay in the foreground, logs on standard error")
def up(data_dir: Path, config: Mapping[str, Any], foreground: bool, **given: Any) -> int:
    """start the cluster in the background and wait until its node is ready

    An option that is not given stays as it was chosen for this data directory before.
    """
    from services.standalone import process
    from services.standalone.lock import Busy, held

    files, name = ClusterSettings(data_dir=data_dir).files, place.name_of(data_dir)
    fresh = _reserved(data_dir) if name else files.prepare()
    try:
        with held(files.root) as lock:
            # One that an earlier version started holds no lock.
            if running := process.find(files):
                return _runs_already(files, name, running.pid)
            if name and not files.settings.exists():
                raise CommandError(f"the cluster {name} was removed meanwhile; try again")
            try:
                settings = settings_from(data_dir, {**config, **{name: value for name, value in given.items() if value is not None}})
                _check(settings)
            except CommandError:
                if fresh:
                    files.abandon()
                raise
            return _run(settings) if foreground else _start(settings, name, lock)
    except Busy:
        running = process.find(files)
        if running is None or not files.state.exists():
            raise
        return _runs_already(files, name, running.pid)


def _reserved(data_dir: Path) -> bool:
    """A place for a named cluster, whose context can be written when it runs. False where it was there."""
    from services.command.named import contexts, making

    contexts.check()
    return making.reserve(data_dir)


def _runs_already(files: Files, name: str, pid: int) -> int:
    from services.command.named import freezing

    if freezing.is_frozen(pid):
        freezing.resume(ClusterSettings.saved(files.root))
        print("the cluster was paused and goes on")
    of = f" --name {name}" if name else ""
    print(f"the cluster runs already (pid {pid}); `knarr status{of}` shows it, `knarr down{of}` stops it")
    if name and files.state.exists():
        _enter_context(files, name)
    return 0


def _enter_context(files: Files, name: str) -> None:
    """kubectl asks this cluster from now on. Where that cannot be written, the cluster runs all the same."""
    from services.command.named import contexts

    try:
        path = contexts.add(name, files.kubeconfig)
        print(f"  the current context of {path} is {contexts.context_of(name)}")
    except (CommandError, OSError) as error:
        print(f"warning: {error}", file=sys.stderr)
        print(f"  export KUBECONFIG={shlex.quote(_shown(files.kubeconfig))}")


def _check(settings: ClusterSettings) -> None:
    from services.standalone.preflight import problems

    if found := list(problems(settings)):
        raise CommandError("the cluster cannot start:\n" + "\n".join(f"  - {problem}" for problem in found))


def _run(settings: ClusterSettings) -> int:
    from services.standalone.launch import run
    from services.standalone.progress import Progress

    return run(settings, Progress())


def _start(settings: ClusterSettings, name: str, lock: int) -> int:
    from services.standalone import process

    files = settings.files
    try:
        with interruptible(), Working("starting the cluster"):
            timeout = process.start_timeout(settings.nodes)
            facts = process.start(files, options_of(settings), _tell_step, lock, timeout)
            with undisturbed():
                print(f"node {facts['node']} is ready after {facts['seconds']:.2f} s: {facts['server']}")
                if name:
                    _enter_context(files, name)
    except KeyboardInterrupt:
        with undisturbed():
            print("interrupted: stopping the cluster again", file=sys.stderr)
            # It may have become ready in this moment.
            process.stop(files)
            remove(settings)
        raise
    if not name:
        print(f"  export KUBECONFIG={shlex.quote(_shown(files.kubeconfig))}")
    return 0


def _tell_step(step: str, seconds: float) -> None:
    print(f"  {seconds:5.2f} s  {step}", flush=True)


def _shown(path: Path) -> str:
    """The path as a person in this directory would type it."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed: a whole path was given
        return str(path)
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
