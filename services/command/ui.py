"""``knarr ui``: hands over to the page's process, as whom the kubeconfig names."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import orjson

from knarr.service.errors import CommandError
from services.apiserver.webhooks.kubeconfig import read_document
from services.standalone.files import Files
from services.standalone.process import environment

PAGE = f"{__package__}.page"


def show(files: Files, kubeconfig: Path | None, port: int, *, browser: bool) -> NoReturn:
    """Becomes that process. Raises CommandError where there is no cluster."""
    path = kubeconfig or files.kubeconfig
    if not path.exists():
        raise CommandError(f"there is no {path}; start a cluster first: `knarr up`, or name one by --kubeconfig")
    # Never on disk, nor where others read what a process was started with: there are keys in it.
    told = os.memfd_create("kubeconfig", 0)
    os.write(told, orjson.dumps(read_document(path)))
    os.lseek(told, 0, os.SEEK_SET)
    command = [sys.executable, "-P", "-m", PAGE, "--data-dir", str(files.root), "--kubeconfig", str(path), f"--kubeconfig-fd={told}"]
    os.execve(sys.executable, [*command, f"--port={port}", *(["--browser"] if browser else [])], environment())
