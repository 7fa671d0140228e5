"""The ``knarr`` command.

Imports little at first: what a command does not need would only delay it, and so would it `knarr --help` and every press of Tab.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from knarr.service.errors import CommandError
from services.command.commands.addon import addon_group
from services.command.commands.audit import audit
from services.command.commands.auth import auth
from services.command.commands.backup import backup, restore
from services.command.commands.boot import boot_group
from services.command.commands.certs import certs
from services.command.commands.clusters import delete, list_clusters, pause, resume, switch
from services.command.commands.completion import COMPLETE, completion
from services.command.commands.doctor import doctor
from services.command.commands.down import down
from services.command.commands.export import export
from services.command.commands.kubeconfig import kubeconfig
from services.command.commands.load import load
from services.command.commands.logs import logs
from services.command.commands.node import node_group
from services.command.commands.secrets import secrets
from services.command.commands.simulate import simulate
from services.command.commands.status import status
from services.command.commands.top import top
from services.command.commands.ui import ui
from services.command.commands.up import up
from services.command.commands.version import tell_versions, version
from services.command.commands.what_if import what_if
from services.command.commands.why import why_pod
from services.command.group import Commands
from services.command.output import outlast_readers

# In the order in which `knarr --help` tells them.
COMMANDS: list[click.Command] = [
    up,
    down,
    list_clusters,
    switch,
    pause,
    resume,
    boot_group,
    delete,
    status,
    node_group,
    doctor,
    top,
    logs,
    export,
    kubeconfig,
    load,
    addon_group,
    backup,
    restore,
    certs,
    audit,
    auth,
    ui,
    why_pod,
    what_if,
    simulate,
    secrets,
    completion,
    version,
]


@click.group(cls=Commands, commands=COMMANDS, context_settings={"max_content_width": 140, "help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=tell_versions, help="print the version and end")
def knarr() -> None:
    """A Kubernetes-compatible cluster on this machine."""


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
