"""The ``knarr`` command: up, down, status, kubeconfig, load, backup, restore.

Imports little: what a command does not need would only delay it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from knarr.service.options import MAX_PORT, cidr, domain
from services.standalone import process
from services.standalone.settings import DEFAULT_DATA_DIR, ClusterSettings, Ports

PORT_NAMES = [field.name for field in dataclasses.fields(Ports)]
# Settings that are not chosen by an option of their own.
NO_OPTIONS = ("data_dir", "ports", "node_ports", "listen_address")


def parser() -> argparse.ArgumentParser:
    """The command line of ``knarr``."""
    top = argparse.ArgumentParser(prog="knarr", description="A Kubernetes-compatible cluster on this machine.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start the cluster in the background and wait until its node is ready")
    add_settings(up)
    up.add_argument("--foreground", action="store_true", help="stay in the foreground, logs on standard error")
    down = commands.add_parser("down", help="stop the cluster and remove its containers, networks and rules; its state is kept")
    _add_data_dir(down)
    status = commands.add_parser("status", help="what runs, and how it is")
    _add_data_dir(status)
    config = commands.add_parser("kubeconfig", help="print the kubeconfig, or its path")
    _add_data_dir(config)
    config.add_argument("--path", action="store_true", help="print only where the file lies")
    load = commands.add_parser("load", help="copy images of this machine's engine into the nodes of the compose cluster")
    load.add_argument("images", nargs="+", metavar="IMAGE", help="as `docker images` names it")
    load.add_argument("--project", default="knarr", metavar="NAME", help="the compose project (default: %(default)s)")
    backup = commands.add_parser("backup", help="write the running cluster's state into a file")
    _add_data_dir(backup)
    backup.add_argument("file", type=Path, metavar="FILE", help="a snapshot of etcd; must not exist")
    restore = commands.add_parser("restore", help="make a file of `knarr backup` the state of the stopped cluster")
    _add_data_dir(restore)
    restore.add_argument("file", type=Path, metavar="FILE", help="a snapshot of etcd")
    restore.add_argument("--replace", action="store_true", help="move the state that is there aside")
    return top


def _add_data_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-dir", type=Path, default=DEFAULT_DATA_DIR, metavar="DIR", help="the cluster's files (default: %(default)s)"
    )


def add_settings(command: argparse.ArgumentParser) -> None:
    """The options that make ClusterSettings; the background process takes the same.

    An option that is not given stays as it was chosen for this data directory before.
    """
    _add_data_dir(command)
    fresh = ClusterSettings()

    def add(name: str, text: str, **how: Any) -> None:
        default = getattr(fresh, name.replace("-", "_"))
        suffix = f" (default: {default})" if default else ""
        command.add_argument(f"--{name}", default=argparse.SUPPRESS, help=text + suffix, **how)

    add("runtime", "run containers, or simulate them", choices=("docker", "hollow"))
    add("datapath", "how Services are load-balanced", choices=("nftables", "userspace"))
    add("node-name", "the node's name (default: the machine's)", metavar="NAME")
    add("log-style", "how the log is written", choices=("text", "json"))
    add("log-level", "the least important messages that are logged", choices=("debug", "info", "warning", "error"))
    add("service-cidr", "addresses of Services", type=cidr, metavar="CIDR")
    add("cluster-cidr", "addresses of all pods", type=cidr, metavar="CIDR")
    add("pod-cidr", "the part of them that is this node's", type=cidr, metavar="CIDR")
    add("load-balancer-pool", "addresses of Services of type LoadBalancer", type=cidr, metavar="CIDR")
    add("cluster-domain", "the ending of all names in the cluster", type=domain, metavar="DOMAIN")
    for name in PORT_NAMES:
        default = getattr(Ports(), name)
        command.add_argument(f"--{name}-port", type=_port, default=argparse.SUPPRESS, metavar="PORT", help=f"(default: {default})")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to {MAX_PORT}")
    return int(text)


def settings_from(arguments: argparse.Namespace) -> ClusterSettings:
    """What was chosen now, over what was chosen before."""
    before = ClusterSettings.saved(arguments.data_dir)
    given = vars(arguments)
    ports = {name: given[f"{name}_port"] for name in PORT_NAMES if f"{name}_port" in given}
    names = {field.name for field in dataclasses.fields(ClusterSettings)} - {"data_dir", "ports"}
    values = {name: value for name, value in given.items() if name in names}
    return dataclasses.replace(before, ports=dataclasses.replace(before.ports, **ports), **values)


def options_of(settings: ClusterSettings) -> list[str]:
    """The command line that ``settings_from`` turns back into the same settings."""
    names = [field.name for field in dataclasses.fields(settings) if field.name not in NO_OPTIONS]
    options = {name.replace("_", "-"): getattr(settings, name) for name in names}
    ports = {f"{name}-port": getattr(settings.ports, name) for name in PORT_NAMES}
    return [f"--{name}={value}" for name, value in {"data-dir": settings.data_dir.absolute(), **options, **ports}.items()]


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
    from services.standalone.status import report

    return report(ClusterSettings(data_dir=arguments.data_dir))


def kubeconfig(arguments: argparse.Namespace) -> int:
    path = ClusterSettings(data_dir=arguments.data_dir).files.kubeconfig
    if not path.exists():
        raise process.ProcessError(f"there is no {path}; start the cluster first: `knarr up`")
    print(path if arguments.path else path.read_text())
    return 0


def load(arguments: argparse.Namespace) -> int:
    from services.standalone.load import load as load_images

    load_images(arguments.images, arguments.project)
    return 0


def backup(arguments: argparse.Namespace) -> int:
    from services.standalone.backup import backup as back_up

    back_up(ClusterSettings(data_dir=arguments.data_dir).files, arguments.file)
    return 0


def restore(arguments: argparse.Namespace) -> int:
    from services.standalone.backup import restore as bring_back

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
