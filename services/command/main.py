"""The ``knarr`` command: up, down, status, kubeconfig, load, backup, restore.

Imports little: what a command does not need would only delay it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from services.standalone import process
from services.standalone.options import add_data_dir, add_settings, options_of, settings_from
from services.standalone.settings import ClusterSettings


def parser() -> argparse.ArgumentParser:
    """The command line of ``knarr``."""
    top = argparse.ArgumentParser(prog="knarr", description="A Kubernetes-compatible cluster on this machine.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start the cluster in the background and wait until its node is ready")
    add_settings(up)
    up.add_argument("--foreground", action="store_true", help="stay in the foreground, logs on standard error")
    down = commands.add_parser("down", help="stop the cluster and remove its containers, networks and rules; its state is kept")
    add_data_dir(down)
    status = commands.add_parser("status", help="what runs, and how it is")
    add_data_dir(status)
    config = commands.add_parser("kubeconfig", help="print the kubeconfig, or its path")
    add_data_dir(config)
    config.add_argument("--path", action="store_true", help="print only where the file lies")
    load = commands.add_parser("load", help="copy images of this machine's engine into the nodes of the compose cluster")
    load.add_argument("images", nargs="+", metavar="IMAGE", help="as `docker images` names it")
    load.add_argument("--project", default="knarr", metavar="NAME", help="the compose project (default: %(default)s)")
    backup = commands.add_parser("backup", help="write the running cluster's state into a file")
    add_data_dir(backup)
    backup.add_argument("file", type=Path, metavar="FILE", help="a snapshot of etcd; must not exist")
    restore = commands.add_parser("restore", help="make a file of `knarr backup` the state of the stopped cluster")
    add_data_dir(restore)
    restore.add_argument("file", type=Path, metavar="FILE", help="a snapshot of etcd")
    restore.add_argument("--replace", action="store_true", help="move the state that is there aside")
    return top


def up(arguments: argparse.Namespace) -> int:
    from services.standalone.preflight import problems

    settings = settings_from(arguments)
    files = settings.files
    running = process.find(files)
    if running is not None:
        print(f"the cluster runs already (pid {running.pid}); `knarr status` shows it, `knarr down` stops it")
        return 0
    found = list(problems(settings))
    if found:
        raise process.ProcessError("the cluster cannot start:\n" + "\n".join(f"  - {problem}" for problem in found))
    files.prepare()
    if arguments.foreground:
        from services.standalone.background import run

        return run(settings)
    facts = process.start(files, options_of(settings), lambda step, seconds: print(f"  {seconds:5.2f} s  {step}", flush=True))
    print(f"node {facts['node']} is ready after {facts['seconds']:.2f} s: {facts['server']}")
    print(f"  export KUBECONFIG={_shown(files.kubeconfig)}")
    return 0


def down(arguments: argparse.Namespace) -> int:
    from services.standalone.cleanup import remove_everything

    settings = ClusterSettings.saved(arguments.data_dir)
    stopped = process.stop(settings.files)
    print("the cluster's process has stopped" if stopped else "no cluster process was running")
    for line in remove_everything(settings):
        print(f"  {line}")
    return 0


def status(arguments: argparse.Namespace) -> int:
    from services.command.status import report

    return report(ClusterSettings(data_dir=arguments.data_dir))


def kubeconfig(arguments: argparse.Namespace) -> int:
    path = ClusterSettings(data_dir=arguments.data_dir).files.kubeconfig
    if not path.exists():
        raise process.ProcessError(f"there is no {path}; start the cluster first: `knarr up`")
    print(path if arguments.path else path.read_text())
    return 0


def load(arguments: argparse.Namespace) -> int:
    from services.compose.load import load as load_images

    load_images(arguments.images, arguments.project)
    return 0


def backup(arguments: argparse.Namespace) -> int:
    from services.standalone.backup.backup import backup as back_up

    back_up(ClusterSettings(data_dir=arguments.data_dir).files, arguments.file)
    return 0


def restore(arguments: argparse.Namespace) -> int:
    from services.standalone.backup.backup import restore as bring_back

    bring_back(ClusterSettings(data_dir=arguments.data_dir).files, arguments.file, replace=arguments.replace)
    return 0


def _shown(path: Path) -> str:
    """The path as a person in this directory would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


COMMANDS = {"up": up, "down": down, "status": status, "kubeconfig": kubeconfig, "load": load, "backup": backup, "restore": restore}


def main() -> None:
    arguments = parser().parse_args()
    try:
        raise SystemExit(COMMANDS[arguments.command](arguments))
    except process.ProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except PermissionError as error:
        print(f"error: {error.filename or error}: permission denied; run with sudo, or choose another --data-dir", file=sys.stderr)
        raise SystemExit(1) from None
