"""The process of ``knarr ui``, which hands over to it: nothing is loaded here that the page does not need while it is looked at.

It is told the kubeconfig as JSON by a descriptor: what reads YAML, and the command that knows all others, are 10 MB.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import orjson

from knarr.service.errors import CommandError
from services.apiserver.webhooks.remote import Remote, remote_of
from services.command.output import outlast_readers
from services.command.page.serving import serve
from services.standalone.files import Files


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.command.page")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="from where --kubeconfig-fd was read")
    parser.add_argument("--kubeconfig-fd", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--browser", action="store_true")
    arguments = parser.parse_args()
    outlast_readers()
    try:
        serve(Files(arguments.data_dir), _remote(arguments.kubeconfig, arguments.kubeconfig_fd), arguments.port, browser=arguments.browser)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _remote(path: Path, descriptor: int) -> Remote:
    with os.fdopen(descriptor, "rb") as told:
        kubeconfig = orjson.loads(told.read())
    try:
        return remote_of(kubeconfig, path.parent)
    except ValueError as error:
        raise CommandError(f"{path}: {error}") from error


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130
    raise SystemExit(code)
