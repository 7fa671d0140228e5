"""The ``knarr`` command.

Imports little at first: what a command does not need would only delay it, and so would it `knarr --help` and every press of Tab.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from knarr.service.errors import CommandError
from services.command.options import data_dir, settings_options
from services.command.output import outlast_readers
from services.command.working import Working
from services.standalone.options import options_of, settings_from
from services.standalone.settings import ClusterSettings
from services.standalone.signals import interruptible, undisturbed

COMPLETE = "_KNARR_COMPLETE"
# How long `down` waits for a command that is still at work, after the cluster's process has ended.
WAIT_SECONDS = 5.0


class Command(click.Command):
    """A command whose line in the list of commands is the whole first line of its help."""

    def get_short_help_str(self, limit: int = 0) -> str:
        return (self.help or "").partition("\n")[0]


class Commands(click.Group):
    """The commands in the order in which they are written; an unknown one is answered by their list."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"invalid choice: {args[0]!r} (choose from {', '.join(self.commands)})")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"max_content_width": 140, "help_option_names": ["-h", "--help"]})
def knarr() -> None:
    """A Kubernetes-compatible cluster on this machine."""


@knarr.command()
@data_dir
@settings_options
@click.option("--foreground", is_flag=True, help="stay in the foreground, logs on standard error")
def up(data_dir: Path, foreground: bool, **given: Any) -> int:
    """start the cluster in the background and wait until its node is ready

    An option that is not given stays as it was chosen for this data directory before.
    """
    from services.standalone import process
    from services.standalone.lock import Busy, held

    files = ClusterSettings(data_dir=data_dir).files
    fresh = files.prepare()
    try:
        with held(files.root) as lock:
            # One that an earlier version started holds no lock.
            if running := process.find(files):
                return _runs_already(running.pid)
            try:
                settings = settings_from(data_dir, {name: value for name, value in given.items() if value is not None})
                _check(settings)
            except CommandError:
                if fresh:
                    files.root.rmdir()
                raise
            return _run(settings) if foreground else _start(settings, lock)
    except Busy:
        running = process.find(files)
        if running is None or not files.state.exists():
            raise
        return _runs_already(running.pid)


def _runs_already(pid: int) -> int:
    print(f"the cluster runs already (pid {pid}); `knarr status` shows it, `knarr down` stops it")
    return 0


def _check(settings: ClusterSettings) -> None:
    from services.standalone.preflight import problems

    if found := list(problems(settings)):
        raise CommandError("the cluster cannot start:\n" + "\n".join(f"  - {problem}" for problem in found))


def _run(settings: ClusterSettings) -> int:
    from services.standalone.launch import run
    from services.standalone.progress import Progress

    return run(settings, Progress())


def _start(settings: ClusterSettings, lock: int) -> int:
    from services.standalone import process

    files = settings.files
    try:
        with interruptible(), Working("starting the cluster"):
            facts = process.start(files, options_of(settings), lambda step, seconds: print(f"  {seconds:5.2f} s  {step}", flush=True), lock)
    except KeyboardInterrupt:
        with undisturbed():
            print("interrupted: stopping the cluster again", file=sys.stderr)
            _remove(settings)
        raise
    print(f"node {facts['node']} is ready after {facts['seconds']:.2f} s: {facts['server']}")
    print(f"  export KUBECONFIG={shlex.quote(_shown(files.kubeconfig))}")
    return 0


def _remove(settings: ClusterSettings) -> None:
    from services.standalone.cleanup import remove_everything

    for line in remove_everything(settings):
        print(f"  {line}")


@knarr.command()
@data_dir
def down(data_dir: Path) -> int:
    """stop the cluster and remove its containers, networks and rules; its state is kept"""
    from services.standalone import process
    from services.standalone.lock import held

    settings, complaint = ClusterSettings.salvaged(data_dir)
    files = settings.files
    with Working("stopping the cluster"):
        stopped = process.stop(files)

        def stop_what_comes() -> None:
            """A start that is under way may bring one yet."""
            nonlocal stopped
            stopped = process.stop(files) or stopped

        if not files.root.exists():
            print("no cluster process was running")
            return 0
        with held(files.root, wait_seconds=WAIT_SECONDS, meanwhile=stop_what_comes):
            process.forget(files)
            print("the cluster's process has stopped" if stopped else "no cluster process was running")
            _remove(settings)
    if complaint:
        print(f"warning: {complaint}; what was removed is what the default makes", file=sys.stderr)
    return 0


@knarr.command()
@data_dir
def status(data_dir: Path) -> int:
    """what runs, and how it is; exits with 1 when something does not serve"""
    from services.command.status import report

    return report(ClusterSettings(data_dir=data_dir))


@knarr.command()
@data_dir
@click.option("--path", "only_path", is_flag=True, help="print only where the file lies")
def kubeconfig(data_dir: Path, only_path: bool) -> int:
    """print the kubeconfig, or its path"""
    path = ClusterSettings(data_dir=data_dir).files.kubeconfig
    if not path.exists():
        raise CommandError(f"there is no {path}; start the cluster first: `knarr up`")
    print(path if only_path else path.read_text())
    return 0


@knarr.command()
@data_dir
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--project", default="knarr", metavar="NAME", help="the compose project (default: knarr)")
def load(data_dir: Path, images: tuple[str, ...], project: str) -> int:
    """copy images of this machine's engine into the nodes of the compose cluster

    IMAGE is a name as `docker images` writes it. The cluster of `knarr up` needs none: its pods run this machine's images as they are.
    """
    from services.compose.load import NoNodes
    from services.compose.load import load as load_images
    from services.standalone import process

    try:
        with Working("copying", "MB", 1e6) as progress:
            load_images(list(images), project, progress)
    except NoNodes:
        files = ClusterSettings(data_dir=data_dir).files
        if process.find(files) is None:
            raise
        print(f"nothing to load: the cluster in {files.root} runs this machine's images as they are")
    return 0


@knarr.command()
@data_dir
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
def backup(data_dir: Path, file: Path) -> int:
    """write the running cluster's state into a file

    FILE, a snapshot of etcd, must not exist.
    """
    from services.standalone.backup.backup import backup as back_up

    with Working("reading", "MB", 1e6) as progress:
        back_up(ClusterSettings(data_dir=data_dir).files, file, progress)
    return 0


@knarr.command()
@data_dir
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--replace", is_flag=True, help="move the state that is there aside")
def restore(data_dir: Path, file: Path, replace: bool) -> int:
    """make a file of `knarr backup` the state of the stopped cluster

    FILE is a snapshot of etcd.
    """
    from services.standalone.backup.backup import restore as bring_back

    with Working("restoring", "revisions") as progress:
        bring_back(ClusterSettings(data_dir=data_dir).files, file, replace=replace, progress=progress)
    return 0


@knarr.group(cls=Commands, short_help="the cluster's certificates: list them, make them anew")
def certs() -> None:
    """The cluster's certificates."""


def _folder(data_dir: Path, folder: Path | None) -> Path:
    return folder if folder is not None else ClusterSettings(data_dir=data_dir).files.pki


_FOLDER = click.option(
    "--folder", type=click.Path(path_type=Path), metavar="DIR", help="another folder with certificates (default: pki of --data-dir)"
)


@certs.command("list")
@data_dir
@_FOLDER
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="the form (default: table)")
def list_certificates(data_dir: Path, folder: Path | None, output: str) -> int:
    """each certificate: whom it is for, by which authority, until when; exits with 1 when one of them is not good"""
    from services.command.certs import show

    return show(_folder(data_dir, folder), output)


@certs.command("renew")
@data_dir
@_FOLDER
@click.argument("names", nargs=-1, metavar="[NAME]...")
def renew_certificates(data_dir: Path, folder: Path | None, names: tuple[str, ...]) -> int:
    """make certificates anew, at once; servers that run show them to the next connection

    NAME is one of `knarr certs list`; all unless one is given. The kubeconfig of the data directory gets its new one.
    """
    from services.command.certs import renewed

    kubeconfig = ClusterSettings(data_dir=data_dir).files.kubeconfig if folder is None else None
    return renewed(_folder(data_dir, folder), list(names), kubeconfig)


@knarr.command()
@data_dir
@click.option("--kubeconfig", type=click.Path(path_type=Path), metavar="FILE", help="whose cluster it is (default: that of `knarr up`)")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="how it is told (default: text)")
def audit(data_dir: Path, kubeconfig: Path | None, output: str) -> int:
    """look whether the cluster is as safe as it can be; exits with 1 when something is not

    Each finding says why it matters and how it is mended.
    """
    from services.command.api import ApiClient
    from services.command.audit import as_json, as_text, has_failed
    from services.command.audit import audit as look

    files = ClusterSettings(data_dir=data_dir).files
    path = kubeconfig or files.kubeconfig
    if not path.exists():
        raise CommandError(f"there is no {path}; start the cluster first (`knarr up`), or name another --kubeconfig")
    with ApiClient(path) as api:
        results = look(api, files.root if kubeconfig is None else None)
    print(as_json(results).decode() if output == "json" else as_text(results))
    return 1 if has_failed(results) else 0


@knarr.group(cls=Commands)
def auth() -> None:
    """who may do what in the running cluster"""


@auth.command()
@data_dir
@click.argument("verb", metavar="VERB")
@click.argument("what", metavar="RESOURCE")
@click.argument("name", default="", metavar="[NAME]")
@click.option("--namespace", "-n", default="default", metavar="NAME", help="where (default: default)")
@click.option("--all-namespaces", "-A", is_flag=True, help="in the whole cluster, which is also where what has no namespace lies")
@click.option("--as", "user", default="", metavar="USER", help="about whom, like system:serviceaccount:NAMESPACE:NAME")
@click.option("--as-group", "groups", multiple=True, metavar="GROUP", help="a group that he is in; repeat for each")
@click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", help="(default: text)")
def why(
    data_dir: Path, verb: str, what: str, name: str, namespace: str, all_namespaces: bool, user: str, groups: tuple[str, ...], output: str
) -> int:
    """by which rule somebody may do something, or what is missing for it; exits with 1 when he may not

    RESOURCE is like pods, pods/log, deployments.apps/scale, or a path that begins with a slash.
    """
    from services.command.auth import Question
    from services.command.auth import why as ask

    question = Question(verb, what, name, "" if all_namespaces else namespace, user, groups)
    return ask(ClusterSettings(data_dir=data_dir).files, question, as_json=output == "json")


@knarr.command("why")
@data_dir
@click.argument("kind", type=click.Choice(["pod"]), metavar="pod")
@click.argument("name", metavar="NAME")
@click.option("--namespace", "-n", default="default", metavar="NAME", help="where (default: default)")
@click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", help="(default: text)")
def why_pod(data_dir: Path, kind: str, name: str, namespace: str, output: str) -> int:
    """what the scheduler says of each node for a pod; exits with 1 when none will do"""
    from services.command.placement import why as ask

    return ask(ClusterSettings(data_dir=data_dir).files, namespace, name, as_json=output == "json")


@knarr.group(cls=Commands)
def secrets() -> None:
    """what lies encrypted in the store"""


@secrets.command()
@data_dir
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="the EncryptionConfiguration (default: that of `knarr up`)")
@click.option("--kubeconfig", type=click.Path(path_type=Path), metavar="FILE", help="whose cluster it is (default: that of `knarr up`)")
@click.option("--server", multiple=True, metavar="URL", help="an API server, where there are several; repeat for each")
def rotate(data_dir: Path, config: Path | None, kubeconfig: Path | None, server: tuple[str, ...]) -> int:
    """replace the key that Secrets are encrypted with, while the cluster runs

    A command that was cut short goes on when it is given again.
    """
    from services.command.secrets import rotate_of

    settings = ClusterSettings.saved(data_dir)
    file = config or settings.encryption_file
    if file is None:
        raise CommandError("nothing is encrypted: start the cluster with `knarr up --encryption-provider-config FILE` (docs/security.md)")
    with Working("writing", "objects") as progress:
        rotate_of(file, kubeconfig or settings.files.kubeconfig, server, lambda line: print(line, flush=True), progress)
    return 0


@knarr.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """print what makes a shell complete this command

    \b
    bash:  source <(knarr completion bash)
    zsh:   source <(knarr completion zsh)
    fish:  knarr completion fish | source
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    print(made(knarr, {}, "knarr", COMPLETE).source())
    return 0


def _shown(path: Path) -> str:
    """The path as a person in this directory would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def main() -> NoReturn:
    """Exits with 0, 1 when the command could not do what it should, 2 when it was not understood, 130 when it was interrupted."""
    outlast_readers()
    try:
        code = knarr.main(prog_name="knarr", complete_var=COMPLETE, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except click.Abort:
        raise SystemExit(130) from None
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except PermissionError as error:
        what = error.filename or "the cluster's process"
        print(f"error: {what}: permission denied; run with sudo, or choose another --data-dir", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno is None:
            raise
        print(f"error: {error.filename or 'the system'}: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None
    raise SystemExit(code)
