"""``knarr up``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from knarr.service.errors import CommandError
from services.command.commands.down import remove
from services.command.group import Command
from services.command.named import place
from services.command.options import config_option, data_dir, output_option, settings_options
from services.command.output import deliver
from services.command.working import Working
from services.standalone.files import Files
from services.standalone.options import options_of, settings_from
from services.standalone.settings import ClusterSettings
from services.standalone.signals import interruptible, undisturbed

Tell = Callable[[str], object]


@click.command(cls=Command)
@partial(data_dir, may_be_new=True)
@config_option
@settings_options
@output_option
@click.option("--foreground", is_flag=True, help="stay in the foreground, logs on standard error")
def up(data_dir: Path, config: Mapping[str, Any], foreground: bool, output: str, **given: Any) -> int:
    """start the cluster in the background and wait until its node is ready

    An option that is not given stays as it was chosen for this data directory before.
    """
    if output == "text":
        return _up(data_dir, config, given, print, foreground=foreground)
    if foreground:
        raise click.UsageError("--foreground tells nothing but logs; leave it out, or --output")
    from services.command.status import status_of

    _up(data_dir, config, given, _to_standard_error, foreground=False)
    files, name = ClusterSettings(data_dir=data_dir).files, place.name_of(data_dir)
    context = {"context": f"knarr-{name}"} if name else {}
    found = status_of(ClusterSettings(data_dir=data_dir)).as_dict()
    deliver(json.dumps({**found, "kubeconfig": str(files.kubeconfig), **context}, indent=2))
    return 0


def _to_standard_error(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _up(data_dir: Path, config: Mapping[str, Any], given: Mapping[str, Any], tell: Tell, *, foreground: bool) -> int:
    """``tell`` hears what a person is told."""
    from services.standalone import process
    from services.standalone.lock import Busy, held

    files, name = ClusterSettings(data_dir=data_dir).files, place.name_of(data_dir)
    fresh = _reserved(data_dir) if name else files.prepare()
    try:
        with held(files.root) as lock:
            # One that an earlier version started holds no lock.
            if running := process.find(files):
                return _runs_already(files, name, running.pid, tell)
            if name and not files.settings.exists():
                raise CommandError(f"the cluster {name} was removed meanwhile; try again")
            try:
                settings = settings_from(data_dir, {**config, **{name: value for name, value in given.items() if value is not None}})
                _check(settings)
            except CommandError:
                if fresh:
                    files.abandon()
                raise
            return _run(settings) if foreground else _start(settings, name, lock, tell)
    except Busy:
        running = process.find(files)
        if running is None or not files.state.exists():
            raise
        return _runs_already(files, name, running.pid, tell)


def _reserved(data_dir: Path) -> bool:
    """A place for a named cluster, whose context can be written when it runs. False where it was there."""
    from services.command.named import contexts, making

    contexts.check()
    return making.reserve(data_dir)


def _runs_already(files: Files, name: str, pid: int, tell: Tell) -> int:
    from services.command.named import freezing

    if freezing.is_frozen(pid):
        freezing.resume(ClusterSettings.saved(files.root))
        tell("the cluster was paused and goes on")
    of = f" --name {name}" if name else ""
    tell(f"the cluster runs already (pid {pid}); `knarr status{of}` shows it, `knarr down{of}` stops it")
    if name and files.state.exists():
        _enter_context(files, name, tell)
    return 0


def _enter_context(files: Files, name: str, tell: Tell) -> None:
    """kubectl asks this cluster from now on. Where that cannot be written, the cluster runs all the same."""
    from services.command.named import contexts

    try:
        path = contexts.add(name, files.kubeconfig)
        tell(f"  the current context of {path} is {contexts.context_of(name)}")
    except (CommandError, OSError) as error:
        print(f"warning: {error}", file=sys.stderr)
        tell(f"  export KUBECONFIG={shlex.quote(_shown(files.kubeconfig))}")


def _check(settings: ClusterSettings) -> None:
    from services.standalone.preflight import problems

    if found := [*_addon_problems(settings), *problems(settings)]:
        raise CommandError("the cluster cannot start:\n" + "\n".join(f"  - {problem}" for problem in found))


def _addon_problems(settings: ClusterSettings) -> Iterator[str]:
    if not settings.addons:
        return
    from services.command.addons.catalog import NAMES

    for name in settings.addons.split(","):
        if name not in NAMES:
            yield f"--addons: there is no add-on {name!r}; there are {', '.join(NAMES)}"


def _turn_on_addons(settings: ClusterSettings, tell: Tell) -> None:
    """Those that were chosen and are off. Raises CommandError for the first that cannot be; the cluster runs all the same."""
    if not settings.addons:
        return
    from services.command.addons import switching
    from services.command.addons.addon import OFF
    from services.command.addons.catalog import named

    for addon in map(named, settings.addons.split(",")):
        try:
            with Working(f"enabling {addon.name}"), switching.place_of(settings) as place:
                # One that was on when the cluster ended is on its way.
                if addon.state(place).state == OFF:
                    switching.enable(place, addon, lambda line: _tell_line(tell, line))
                    tell(f"  add-on {addon.name} is on")
        except CommandError as error:
            raise CommandError(
                f"the cluster runs without the add-on {addon.name}: {error}; `knarr addon enable {addon.name}` tries it again"
            ) from error


def _run(settings: ClusterSettings) -> int:
    from services.standalone.launch import run
    from services.standalone.progress import Progress

    if settings.addons:
        print(f"warning: who stays in the foreground turns on add-ons by `knarr addon enable`: {settings.addons}", file=sys.stderr)
    return run(settings, Progress())


def _start(settings: ClusterSettings, name: str, lock: int, tell: Tell) -> int:
    from services.standalone import process

    files = settings.files
    try:
        with interruptible(), Working("starting the cluster"):
            timeout = process.start_timeout(settings.nodes)
            facts = process.start(files, options_of(settings), partial(_tell_step, tell), lock, timeout)
            with undisturbed():
                tell(f"node {facts['node']} is ready after {facts['seconds']:.2f} s: {facts['server']}")
                if name:
                    _enter_context(files, name, tell)
    except KeyboardInterrupt:
        with undisturbed():
            print("interrupted: stopping the cluster again", file=sys.stderr)
            # It may have become ready in this moment.
            process.stop(files)
            remove(settings)
        raise
    if not name:
        tell(f"  export KUBECONFIG={shlex.quote(_shown(files.kubeconfig))}")
    _turn_on_addons(settings, tell)
    return 0


def _tell_step(tell: Tell, step: str, seconds: float) -> None:
    tell(f"  {seconds:5.2f} s  {step}")
    sys.stdout.flush()


def _tell_line(tell: Tell, line: str) -> None:
    tell(f"  {line}")


def _shown(path: Path) -> str:
    """The path as a person in this directory would type it."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed: a whole path was given
        return str(path)
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
